"""The servers that are asked: how each is started, watched and ended."""

import contextlib
import ctypes
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from conformance.asked import DEPLOYED, HEADER_OF_PROCESS, Asked
from conformance.console import Failed
from conformance.environment import VENV
from conformance.verdicts import fail, skip
from harness import nginx as ngx

BENCH = pathlib.Path(__file__).resolve().parent.parent
# What servers load: a file for nginx, a module for the others.
APP_FILE = BENCH / "conformance" / "apps" / "app.py"
APP_MODULE = "conformance.apps.app"
# Seconds for a server to start.
STARTS = 20


def before_exec():
    # If this script is killed, what it started ends too (PR_SET_PDEATHSIG).
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def descendants(pid):
    found = [pid]
    for child in ngx.children(pid):
        found += descendants(child)
    return found


class Module(Asked):
    """nginx with the module. `make(server, **options)` starts one, as the fixture `nginx` of the tests does."""

    title = "module"

    def __init__(self, folder, make):
        super().__init__(folder)
        self.make, self.others = make, {}
        self.nginx = None

    def start(self):
        self.nginx = self.run()
        self.address = ("127.0.0.1", self.nginx.port)
        return self

    def run(self, prefix="/", more="", **options):
        return self.make(f"location {prefix} {{ wsgi_pass {APP_FILE}; {more} }}",
                         http=f"wsgi_env CONFORMANCE_FOLDER {self.folder}; wsgi_block_warning off; "
                              f"wsgi_env {HEADER_OF_PROCESS} process;", **options)

    def running(self):
        """What changes when a process dies."""
        return sorted(self.nginx.workers())

    def log(self):
        return self.nginx.log()

    def other(self, name):
        if name not in self.others:
            with_ = Module(self.folder, self.make)
            with_.transcript = self.transcript
            try:
                with_.nginx = with_.run(**{
                    "tls": {"tls": True}, "two": {"workers": 2}, "mounted": {"prefix": "/mounted"},
                    "deployed": {"more": f'wsgi_var {DEPLOYED[0]} "{DEPLOYED[1]}";'}}[name])
            except ngx.NginxError as error:
                refused = re.search(r'\[emerg\] [\d#: ]*(.*?) in ', str(error))
                fail(f"nginx does not start: {refused.group(1) if refused else error}")
            with_.tls = name == "tls"
            with_.address = ("127.0.0.1", with_.nginx.tls_port if with_.tls else with_.nginx.port)
            self.others[name] = with_
        return self.others[name]

    def version(self):
        found = re.search(r"wsgi: nginx mod_wsgi (\S+?),? ", self.nginx.log())
        return f"{found.group(1) if found else '?'}, nginx {ngx.VERSION_TEXT}"

    def stop(self):
        for one in [self, *self.others.values()]:
            if one.nginx:
                one.nginx.stop(check=False, timeout=5)
                one.nginx.kill()
        self.others, self.nginx = {}, None


class Peer(Asked):
    """A server of PyPI as a child of this script, in a process group of its own."""

    names = {}              # of the settings that `other()` may ask for: what they add to the command

    def __init__(self, folder, kind="plain"):
        super().__init__(folder)
        self.kind, self.others, self.process = kind, {}, None
        self.tls = kind == "tls"
        self.log_path = self.folder / f"{self.title}-{kind}.log"

    def command(self, port):
        raise NotImplementedError

    def environ_of_process(self):
        name, value = DEPLOYED
        return {"CONFORMANCE_FOLDER": str(self.folder), HEADER_OF_PROCESS: "process", name: value,
                "HOME": str(self.folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": str(BENCH),
                "PYTHONDONTWRITEBYTECODE": "1",
                **self.names.get(self.kind, {}).get("environ", {})}

    def start(self):
        self.address = ("127.0.0.1", ngx.free_port())
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(VENV / "bin" / "python"), *self.command(self.address[1])], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self.folder, env=self.environ_of_process(), start_new_session=True,
                preexec_fn=before_exec)
        deadline = time.monotonic() + STARTS
        while not self.answers(1, "/mounted/ok" if self.kind == "mounted" else "/ok"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Failed(f"{self.title} ({self.kind}) does not start:\n{self.log()[-2000:]}")
            time.sleep(0.05)
        time.sleep(0.2)  # a second process may still be starting
        return self

    def running(self):
        return descendants(self.process.pid) if self.process.poll() is None else []

    def log(self):
        try:
            return self.log_path.read_text(errors="backslashreplace")
        except FileNotFoundError:
            return ""

    def other(self, name):
        if name not in self.names:
            skip({"tls": "it has no TLS", "two": "it has one process only", "mounted": "it knows no prefix"}
                 .get(name, "no setting for it"))
        if name not in self.others:
            other = type(self)(self.folder, name)
            other.transcript = self.transcript
            try:
                self.others[name] = other.start()
            except Failed as error:
                print(error, file=sys.stderr)
                skip("it does not start with this setting")
        return self.others[name]

    def more(self):
        return self.names.get(self.kind, {}).get("options", [])

    def stop(self):
        for one in self.others.values():
            one.stop()
        self.others = {}
        if self.process is None:
            return
        pids = self.running()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            pass
        for pid in pids:
            # Only what is still of the group that began with our child.
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


def certificate(cert, key):
    files = dict(zip(("cert", "key"), map(str, ngx.certificate())))
    return [option.format(**files) for option in (*cert, *key)]


class Gunicorn(Peer):
    title = "gunicorn"
    shown = "gunicorn --workers 1 --worker-class sync"
    names = {"tls": {"options": certificate(["--certfile", "{cert}"], ["--keyfile", "{key}"])},
             "two": {"options": ["--workers", "2"]},
             "mounted": {"environ": {"SCRIPT_NAME": "/mounted"}}}

    def command(self, port):
        return ["-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1", "--worker-class", "sync",
                "--graceful-timeout", "1", *self.more(), f"{APP_MODULE}:application"]


class Waitress(Peer):
    title = "waitress"
    shown = "waitress-serve"
    names = {"mounted": {"options": ["--url-prefix=/mounted"]}}

    def command(self, port):
        return ["-m", "waitress", f"--listen=127.0.0.1:{port}", *self.more(), f"{APP_MODULE}:application"]


class Uwsgi(Peer):
    title = "uWSGI"
    shown = "uwsgi --http-socket"
    names = {"tls": {}, "two": {"options": ["--processes", "2"]},
             "mounted": {"options": ["--mount", f"/mounted={APP_MODULE}:application", "--manage-script-name"]},
             "deployed": {"options": ["--route-run", f"addvar:{DEPLOYED[0]}={DEPLOYED[1]}"]}}

    def command(self, port):
        listen = ["--http-socket", f"127.0.0.1:{port}"]
        if self.kind == "tls":
            listen = ["--https-socket", ",".join([f"127.0.0.1:{port}", *certificate(["{cert}"], ["{key}"])])]
        module = [] if self.kind == "mounted" else ["--module", f"{APP_MODULE}:application"]
        run = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
        return ["-c", run, str(VENV / "bin" / "uwsgi"), *listen, *module, "--virtualenv", str(VENV), "--need-app",
                "--die-on-term", *self.more()]


class Granian(Peer):
    title = "granian"
    shown = "granian --interface wsgi --workers 1"
    names = {"tls": {"options": certificate(["--ssl-certificate", "{cert}"], ["--ssl-keyfile", "{key}"])},
             "two": {"options": ["--workers", "2"]},
             "mounted": {"options": ["--url-path-prefix", "/mounted"]},
             "deployed": {}}

    def command(self, port):
        return ["-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                *self.more(), f"{APP_MODULE}:application"]


class Bjoern(Peer):
    title = "bjoern"
    shown = "bjoern.run(application, host, port)"
    names = {"two": {}}

    def command(self, port):
        run = (f"import bjoern, os; from {APP_MODULE} import application; "
               f"bjoern.listen(application, '127.0.0.1', {port}); ")
        if self.kind == "two":
            run += "os.fork(); "
        return ["-c", run + "bjoern.run()"]


PEERS = [Gunicorn, Waitress, Uwsgi, Granian, Bjoern]


def make_nginx(folder):
    count = iter(range(1000))

    def make(server, **options):
        home = folder / f"n{next(count)}"
        home.mkdir()
        return ngx.Nginx(home, server, **options).start()
    return make
