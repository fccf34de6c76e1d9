"""What the tests of subrequests share: an application that asks for them, and servers behind nginx that misbehave.

`/ask?/one,/two` asks for all at once and answers with what came of each, in the order of the question, as JSON: a list of
status, headers and body, or the text of an exception. `outcomes()` reads that.
"""

import contextlib
import json
import socketserver
import textwrap
import threading

from . import apps

PRELUDE = '''
    def outcome(sub):
        try:
            response = sub()
        except OSError as error:
            return f"{type(error).__name__}: {error}"
        return [response.status, response.headers, response.body.decode("latin-1")]

    def ask(environ, *asked, **how):
        """A generator that asks for all at once, and returns what came of them."""
        subs = [environ["ngx.subrequest"](uri, **how) for uri in asked]
        if subs:
            yield b""
        return [outcome(sub) for sub in subs]

    def at_ask(environ, start_response):
        how = {"method": environ["HTTP_X_METHOD"]} if "HTTP_X_METHOD" in environ else {}
        outcomes = yield from ask(environ, *environ["QUERY_STRING"].split(","), **how)
        yield from answer(start_response, outcomes)

    def at_part(environ, start_response):
        """The rest of the path says what to answer."""
        return answer(start_response, environ["PATH_INFO"][6:].encode("latin-1"))
'''

LARGE = "subrequest_output_buffer_size 4m;"


def serve(nginx, *texts, server="", **options):
    """A server with the application app.py, made of the prelude and `texts`, where `server` has no other location."""
    text = "\n".join(map(textwrap.dedent, (PRELUDE, *texts)))
    return apps.serve(nginx, text, server + "location / { wsgi_pass app.py; }", **options)


class Outcome:
    """What came of one subrequest."""

    def __init__(self, found):
        self.error = found if isinstance(found, str) else None
        self.status, self.headers, body = (None, [], "") if self.error else found
        self.body = body.encode("latin-1")

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        values = self.all(name)
        assert len(values) < 2, f"{name} came several times: {values}"
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.error or self.status} {self.body[:60]!r}>"


def outcomes(response):
    assert response.status == 200, response
    return [Outcome(found) for found in response.json()]


def ask(server, *uris, headers=(), **how):
    """What comes of subrequests to these URIs."""
    return outcomes(server.get("/ask?" + ",".join(uris), list(headers), **how))


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        if self.server.raw:
            return self.server.respond(self)
        line = self.rfile.readline().decode("latin-1").split()
        headers = {}
        while (header := self.rfile.readline().strip()):
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if line:
            self.server.seen.append((line[0], line[1], headers))
            with contextlib.suppress(OSError):
                self.server.respond(self, line[1], headers)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextlib.contextmanager
def behind(respond, raw=False):
    """A server behind nginx: `respond(handler, path, headers)` writes to handler.wfile; then the connection is closed.
    With `raw` it is `respond(handler)` and reads for itself, from handler.rfile.

    Gives the server; `.port`, and `.seen`: what it was asked, triples of method, path and headers.
    """
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.respond = respond
        server.raw = raw
        server.seen = []
        server.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
