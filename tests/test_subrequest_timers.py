"""Timers of a subrequest do not hit the responses that come after it on the same connection."""

import os
import time

from harness.apps import serve, wait_notes
from harness.nginx import SLOW

SIZE = 30_000_000
YIELDING = """
    def at_yields(environ, start_response):
        start_response("200 OK", PLAIN)
        def blocks():
            for _ in range(50):
                yield b""
            note("yielded")
            yield b"ok"
        return blocks()

    def at_slow(environ, start_response):
        return answer(start_response, b"slow")
    """


def slow_reading(client, seconds):
    """Takes a body in pieces for so long, then the rest of it."""
    head = client.read_head()
    received, begin = len(client.buffer), time.monotonic()
    client.buffer = b""
    while received < SIZE:
        data = client.sock.recv(4096 if time.monotonic() - begin < seconds else 1 << 20)
        if not data:
            break
        received += len(data)
        if time.monotonic() - begin < seconds:
            time.sleep(0.01)
    return head.status, received


def test_after_a_mirror(nginx):
    server = serve(nginx, YIELDING, """
        location = /page { mirror /yields; return 200 page; }
        location = /mirrored { mirror /yields; root %%FOLDER%%; try_files /small =404; }
        location = /yields { internal; send_timeout 300ms; wsgi_pass app.py; }
        location = /big { sendfile off; send_timeout 20s; root %%FOLDER%%; }
        """)
    (server.folder / "small").write_text("small")
    with open(server.folder / "big", "wb") as file:
        os.truncate(file.fileno(), SIZE)
    client = server.connect(rcvbuf=4096)
    assert client.request("GET", "/mirrored").body == b"small"
    wait_notes(server, "yielded")
    client.send_request("GET", "/big")
    assert slow_reading(client, 1.0 * SLOW) == (200, SIZE)
    assert not server.log_lines("client timed out")


def test_after_auth_request(nginx):
    server = serve(nginx, YIELDING, """
        location = /yields { internal; send_timeout 300ms; wsgi_pass app.py; }
        location = /big { auth_request /yields; sendfile off; send_timeout 20s; root %%FOLDER%%; }
        """)
    with open(server.folder / "big", "wb") as file:
        os.truncate(file.fileno(), SIZE)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    assert slow_reading(client, 1.0 * SLOW) == (200, SIZE)
    assert not server.log_lines("client timed out")


def test_a_yielding_request_holds_a_graceful_quit(nginx):
    server = serve(nginx, """
        def at_wait(environ, start_response):
            start_response("200 OK", PLAIN)
            def blocks():
                yield b"begin "
                while not there("go"):
                    yield b""
                yield b"end"
            return blocks()
        """)
    client = server.connect()
    client.send_request("GET", "/wait", version="1.0")
    client.read_head()
    server.signal("QUIT")
    server.wait_for_log("gracefully shutting down")
    (server.folder / "go").touch()
    assert client.read_rest().endswith(b"end")
    assert server.wait_exit() == 0
