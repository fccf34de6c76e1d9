"""The same application twice behind one nginx: by wsgi_pass, and by uwsgi_pass with uWSGI from PyPI.

A test writes the configuration once, with `twin_` where a directive is `wsgi_` on one side and `uwsgi_` on the
other. `twin_pass;` is the application, and `other_pass;` is uwsgi_pass on both sides. Each side is a server of its
own, so that URIs are the same. Every request goes to both.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import textwrap

from . import http
from .apps import PRELUDE
from .nginx import SLOW, _before_exec, free_port, wait_for

UWSGI = pathlib.Path(sys.executable).parent / "uwsgi"

# What uWSGI needs to make the same environ.
PARAMS = """
    uwsgi_param QUERY_STRING $query_string; uwsgi_param REQUEST_METHOD $request_method;
    uwsgi_param CONTENT_TYPE $content_type if_not_empty; uwsgi_param CONTENT_LENGTH $content_length if_not_empty;
    uwsgi_param REQUEST_URI $request_uri; uwsgi_param PATH_INFO $document_uri; uwsgi_param SCRIPT_NAME "";
    uwsgi_param DOCUMENT_ROOT $document_root; uwsgi_param SERVER_PROTOCOL $server_protocol;
    uwsgi_param REQUEST_SCHEME $scheme; uwsgi_param REMOTE_ADDR $remote_addr; uwsgi_param REMOTE_PORT $remote_port;
    uwsgi_param SERVER_PORT $server_port; uwsgi_param SERVER_NAME $server_name;
"""

# Two clocks and two keep-alive connections are not one.
DIFFERENT = {"date", "connection", "keep-alive"}


class Uwsgi:
    """One uWSGI process with one application, at the socket `path`."""

    def __init__(self, folder, script):
        self.folder = folder
        self.path = folder / "uwsgi.sock"
        self.log_path = folder / "uwsgi.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [UWSGI, "--uwsgi-socket", str(self.path), "--chmod-socket=666", "--wsgi-file", str(script),
                 "--need-app", "--die-on-term", "--disable-logging", "--buffer-size", "32768", "--ignore-sigpipe"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, preexec_fn=_before_exec,
                env={key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "UWSGI"))})
        try:
            wait_for(self.ready, lambda: f"uWSGI is ready\n{self.log()}", 20)
        except BaseException:
            self.stop()
            raise

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"uWSGI ended with {self.process.returncode}:\n{self.log()}")
        # The socket is there before the application is.
        return "spawned uWSGI worker" in self.log() and self.path.exists()

    def log(self):
        return self.log_path.read_text(errors="backslashreplace")

    def messages(self):
        """What it has said since it was ready."""
        return self.log().partition("cores: 1)\n")[2]

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(10 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Side:
    """One of the two; like an Nginx for `harness.apps`: `folder` is where the notes of its application are."""

    def __init__(self, name, folder, port, server):
        self.name, self.folder, self.port, self.server = name, folder, port, server

    def tail(self, lines=40):
        return self.server.tail(lines)

    def connect(self, **options):
        connection = http.Connection(("127.0.0.1", self.port), **options)
        self.server.clients.append(connection)
        return connection

    def request(self, method, target="/", headers=(), body=None, *, version="1.1", strict=True):
        with http.Connection(("127.0.0.1", self.port)) as client:
            client.send_request(method, target, [*headers, ("Connection", "close")], body, version=version)
            return client.read_response(method, strict)


class Twins:
    """Made by the fixture `twins`. `wsgi` and `uwsgi` are the two sides, `server` is the nginx of both."""

    def __init__(self, nginx, text, config, *, http="", shared="", **options):
        """`http` is text with `twin_` for the level http, `shared` is text for it that stands there once."""
        self.server = server = nginx(start=False, **options)
        folder = server.folder
        (folder / "app.py").write_text(PRELUDE + textwrap.dedent(text))
        # The same file; its notes are beside the name it was loaded by.
        (folder / "uwsgi").mkdir()
        (folder / "uwsgi" / "app.py").symlink_to(folder / "app.py")
        self.process = Uwsgi(folder / "uwsgi", folder / "uwsgi" / "app.py")
        self.wsgi = Side("wsgi", folder, free_port(), server)
        self.uwsgi = Side("uwsgi", folder / "uwsgi", free_port(), server)
        try:
            server.parts["http"] = self.one("wsgi", http) + self.one("uwsgi", http) + shared
            server.parts["servers"] = "".join(
                f"server {{ listen 127.0.0.1:{side.port}; server_name localhost; {self.one(side.name, config)} }}\n"
                for side in self.sides())
            server.start()
        except BaseException:
            self.process.stop()
            raise

    def sides(self):
        return self.wsgi, self.uwsgi

    def one(self, name, text):
        """The configuration of one side."""
        by_uwsgi = f"uwsgi_pass unix:{self.process.path}; {PARAMS}"
        by_wsgi = 'wsgi_script_name ""; wsgi_pass app.py;'
        text = text.replace("other_pass;", by_uwsgi)
        return text.replace("twin_pass;", by_wsgi if name == "wsgi" else by_uwsgi).replace("twin_", f"{name}_")

    def request(self, method, target="/", headers=(), body=None, *, ignore=(), **options):
        """Asks both, asserts that the answers are the same, and returns ours. `ignore` names headers that differ."""
        ours, theirs = (side.request(method, target, headers, body, **options) for side in self.sides())
        ours_shown, theirs_shown = shown(ours, ignore), shown(theirs, ignore)
        different = {key: (value, theirs_shown[key]) for key, value in ours_shown.items() if value != theirs_shown[key]}
        assert not different, f"{method} {target}: (wsgi, uwsgi) {different}\n{self.process.messages()}"
        return ours

    def get(self, target="/", headers=(), **options):
        return self.request("GET", target, headers, **options)

    def post(self, target="/", body=b"body", headers=(), **options):
        return self.request("POST", target, headers, body, **options)

    def stop(self):
        self.process.stop()


def shown(answer, ignore=()):
    """What of an answer must be the same on both sides."""
    ignore = DIFFERENT | {name.lower() for name in ignore}
    fields = {}
    for name, value in answer.headers:
        if name.lower() not in ignore:
            fields.setdefault(name.lower(), []).append(value)
    return {"status": answer.status, "reason": answer.reason, "headers": fields, "body": answer.body,
            "complete": answer.complete}
