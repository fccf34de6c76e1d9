"""A suspension that begins while its client has not taken what was sent: all of it arrives, and the loop sleeps."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.nginx import cpu
from harness.waiting import nothing_left, resume, serve, suspended

pytestmark = pytest.mark.inline_only

BUFFERING = "location / { wsgi_output_buffering on; wsgi_pass app.py; }"
SIZE = 6_000_000
APP = """
    SIZE = 6_000_000

    def full(environ, start_response):
        # More than the client takes, by write(); over HTTP/2 that waits in a file.
        write = start_response("200 OK", PLAIN)
        write(b"x" * SIZE)

    def at_resumed(environ, start_response):
        full(environ, start_response)
        yield from waiting(environ, "a")

    def at_readable(environ, start_response):
        # Ready from the beginning, but the client comes first.
        full(environ, start_response)
        end = pair("a")
        pairs["a"][1].send(b"x")
        try:
            note("waits")
            yield environ["x-wsgiorg.fdevent.readable"](end)
            note("goes on", bool(environ["x-wsgiorg.fdevent.timeout"]))
            yield b"done a"
        finally:
            note("finally")
            part("a")

    def at_poll(environ, start_response):
        full(environ, start_response)
        conn = environ["ngx.connection_wrapper"](pair("a"))
        environ["ngx.poll_register"](conn, 5)
        state = environ["ngx.poll"](20000)
        try:
            note("waits")
            yield b""
            note("goes on", state()[1])
            yield b"done a"
        finally:
            note("finally")
            part("a")

    def at_sleep(environ, start_response):
        full(environ, start_response)
        note("waits")
        yield environ["ngx.sleep"](50)
        note("goes on", bool(environ["x-wsgiorg.suspend_status"]))
        yield b"done a"

    def at_flush(environ, start_response):
        # A block is held; the socket is full when it is to go out.
        start_response("200 OK", PLAIN)
        yield b"x" * (SIZE - 100)
        yield b"x" * 100
        environ["x-wsgiorg.flush"]()
        end = pair("a")
        pairs["a"][1].send(b"x")
        note("waits")
        yield environ["x-wsgiorg.fdevent.readable"](end)
        note("goes on")
        yield b"done a"
        part("a")
    """


def idle(server):
    """The worker does not compute."""
    used = cpu(server.worker)
    settled(lambda: 0, quiet=0.5)
    assert cpu(server.worker) - used < 0.2


@pytest.mark.parametrize("target", ["/readable", "/poll", "/sleep", "/resumed"])
def test_over_http2(nginx, target):
    server = serve(nginx, APP, h2c=True)
    with nothing_left(server):
        client = server.h2(hold=True)
        stream = client.send_request("GET", target)
        suspended(server)
        idle(server)
        if target == "/resumed":
            assert resume(server, "a") is True
        assert notes(server, "goes on") == []
        client.hold = False
        client.release()
        client.finish(stream)
        assert stream.body == b"x" * SIZE + b"done a"
        client.close()


@pytest.mark.parametrize("target", ["/readable", "/poll", "/sleep", "/resumed"])
def test_its_client_leaves(nginx, target):
    server = serve(nginx, APP, h2c=True)
    with nothing_left(server):
        client = server.h2(hold=True)
        stream = client.send_request("GET", target)
        suspended(server)
        client.reset(stream)
        wait_notes(server, "finally" if target != "/sleep" else "waits")
        assert notes(server, "goes on") == []
        client.close()


def test_flushed(nginx):
    server = serve(nginx, APP, BUFFERING)
    with nothing_left(server):
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", "/flush")
        head = client.read_head()
        while not notes(server, "waits"):
            client.read_chunk(head)
        idle(server)
        client.read_body(head)
        assert head.body == b"x" * SIZE + b"done a"
