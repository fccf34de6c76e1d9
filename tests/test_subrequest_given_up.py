"""Subrequests that nobody waits for any more do not hold the response up."""

import contextlib
import socket
import time

import pytest

from harness.apps import serve

APP = """
    def at_limit(environ, start_response):
        environ["ngx.subrequest"]("/hang")
        yield b""
        yield from answer(start_response, b"never")

    def at_fail(environ, start_response):
        environ["ngx.subrequest"]("/hang")
        raise RuntimeError("planned")

    def at_early(environ, start_response):
        environ["x-wsgiorg.suspend"](100)
        sub = environ["ngx.subrequest"]("/hang")
        yield b""
        yield from answer(start_response, raised(sub))

    def at_blocks(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"before "
        environ["x-wsgiorg.suspend"](100)
        environ["ngx.subrequest"]("/hang")
        yield b""
        for number in range(3):
            yield b"%d " % number
            yield environ["ngx.sleep"](20)

    def at_next(environ, start_response):
        environ["x-wsgiorg.suspend"](100)
        environ["ngx.subrequest"]("/hang")
        yield b""
        sub = environ["ngx.subrequest"]("/static")
        yield b""
        yield from answer(start_response, sub().body)

    def at_accel(environ, start_response):
        environ["x-wsgiorg.suspend"](100)
        environ["ngx.subrequest"]("/hang")
        yield b""
        start_response("200 OK", PLAIN + [("X-Accel-Redirect", "/static")])
        yield b""

    def at_wait(environ, start_response):
        yield environ["ngx.sleep"](200)
        yield from answer(start_response, b"x")

    def at_time(environ, start_response):
        environ["x-wsgiorg.suspend"](1000)
        environ["ngx.subrequest"]("/wait")
        yield b""
        begun = time.monotonic()
        environ["x-wsgiorg.suspend"](1000)
        yield b""
        yield from answer(start_response, time.monotonic() - begun)
    """


@pytest.fixture
def server(nginx):
    # Connections are made, and nobody says anything.
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        server = serve(nginx, APP, f"""
            location / {{ wsgi_suspend_timeout 5s; wsgi_pass app.py; }}
            location = /limit {{ wsgi_suspend_timeout 500ms; wsgi_pass app.py; }}
            location = /static {{ return 200 static; }}
            location = /hang {{ proxy_pass http://127.0.0.1:{deaf.getsockname()[1]}; }}
            """)
        yield server


@pytest.mark.parametrize("target, status, body", [
    ("/limit", 504, None), ("/fail", 500, None), ("/early", 200, b'"RuntimeError"'), ("/blocks", 200, b"before 0 1 2 "),
    ("/next", 200, b"static"), ("/accel", 200, b"static")])
def test_the_answer_comes(server, target, status, body):
    answer = server.get(target)
    assert answer.status == status
    assert body is None or answer.body == body


def test_the_time_of_a_suspension_is_its_own(server):
    """nginx leaves a timer alone that is set for nearly the same time."""
    begun = time.monotonic()
    assert server.get("/time").json() >= 0.99
    assert time.monotonic() - begun >= 1.19
