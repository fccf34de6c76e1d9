"""PEP 3333, middleware (3.6) and what wsgiref.validate demands of a server (3.7)."""

import pytest

from harness.apps import notes, serve, wait_notes

VALIDATED = """
    from wsgiref.validate import validator

    def plain_get(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"one ", b"two"]

    def generator(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one "
        yield b"two"

    def echo(environ, start_response):
        stream = environ["wsgi.input"]
        body = stream.readline() + stream.read(3) + b"".join(stream.readlines(2)) + b"".join(stream)
        body += stream.read(10)
        print("to the log", file=environ["wsgi.errors"])
        environ["wsgi.errors"].writelines(["a\\n"])
        environ["wsgi.errors"].flush()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    def write(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])(b"one ")
        return [b"two"]

    def nothing(environ, start_response):
        start_response("204 No Content", [])
        return [b""]

    def replaced(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        start_response("500 Oops", [("Content-Type", "text/plain")], planned())
        return [b"one two"]

    def wrapped(environ, start_response):
        import io
        start_response("200 OK", [("Content-Type", "text/plain")])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"one two"), 4)

    for _name in ("plain_get", "generator", "echo", "write", "nothing", "replaced", "wrapped"):
        globals()["at_" + _name] = validator(globals()[_name])
    """


@pytest.mark.parametrize("http", ["1.1", "1.0", "tls", "2"])
def test_applications_run_clean_under_wsgiref_validate(nginx, http):
    server = serve(nginx, VALIDATED, tls=True, h2c=True)
    if http == "2":
        client = server.h2()
        def ask(method, target, body=None):
            return client.request(method, target, [("cookie", "a=b")], body)
    else:
        def ask(method, target, body=None):
            more = {"tls": True} if http == "tls" else {"version": http}
            return server.request(method, target, [("Cookie", "a=b"), ("Accept", "x"), ("Accept", "y")], body, **more)
    for name in ("plain_get", "generator", "write", "wrapped", "plain_get/sub/%C3%A9?query=%20", "generator?"):
        answer = ask("GET", "/" + name)
        assert (answer.status, answer.body) == (200, b"one two"), f"{name}\n{server.tail()}"
    assert ask("HEAD", "/plain_get").body == b""
    assert ask("GET", "/nothing").status == 204
    assert (ask("GET", "/replaced").status, ask("GET", "/replaced").body) == (500, b"one two")
    body = b"line\nabc\nx\nyy\nzzz"
    assert ask("POST", "/echo", body).body == body
    for name in ("plain_get", "generator", "write", "echo"):
        assert ask("DELETE", "/" + name, b"x" if name == "echo" else None).status == 200
    # The validator prints at collection if the iterator was not closed.
    server.stop()
    assert not server.log_lines(r"AssertionError|WSGIWarning|SyntaxWarning|Iterator garbage collected|Traceback")


def test_middleware_passes_blocks_on_one_by_one(nginx):
    server = serve(nginx, """
        class Upper:
            def __init__(self, inner):
                self.inner = inner

            def __call__(self, environ, start_response):
                def started(status, headers, exc_info=None):
                    start_response(status, headers + [("X-Through", "1")], *([exc_info] if exc_info else []))
                    return lambda data: None
                body = self.inner(environ, started)
                try:
                    for block in body:
                        yield block.upper()
                finally:
                    if hasattr(body, "close"):
                        body.close()

        @Upper
        def at_stream(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(b"", b"one", b"", b"two")
        """)
    client = server.connect()
    answer = client.request("GET", "/stream")
    assert (answer.header("X-Through"), answer.chunks, answer.body) == ("1", [3, 3], b"ONETWO")
    wait_notes(server, "close")
    assert notes(server) == ["end body", "close body"]
