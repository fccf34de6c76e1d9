"""X-Accel-Buffering: the application says whether its blocks leave at once, as with uwsgi_pass.

By uwsgi_pass buffering is on until it is switched off; by wsgi_pass it is `wsgi_output_buffering`, off.
"""

import select
import socket

import pytest

from harness.apps import serve, touch, wait_notes

APP = """
    def at_steps(environ, start_response):
        wanted = environ["QUERY_STRING"]
        values = wanted.split(",") if wanted else []
        start_response("200 OK", PLAIN + [("X-Accel-Buffering", value) for value in values])
        yield b"first"
        while not there("go"):
            note("waiting")
            time.sleep(0.01)
            yield b""
        yield b"second"

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """


def leaves_at_once(target, side):
    """Whether the first block is with the client while the application is asked for the next ones."""
    client = side.connect()
    client.send_request("GET", target)
    # The application is asked again and again: what leaves by itself has left.
    wait_notes(side, "waiting", 20)
    here = client.sock.recv(65536, socket.MSG_PEEK) if select.select([client.sock], [], [], 0)[0] else b""
    touch(side, "go")
    assert client.read_response().body == b"firstsecond"
    return b"first" in here


def test_no_makes_blocks_leave_at_once_on_both_sides(twins):
    pair = twins(APP, "wsgi_output_buffering on; location / { twin_pass; }")
    for side in pair.sides():
        assert leaves_at_once("/steps?no", side)


def test_yes_holds_them_on_both_sides(twins):
    pair = twins(APP, "uwsgi_buffering off; location / { twin_pass; }")
    for side in pair.sides():
        assert not leaves_at_once("/steps?yes", side)


@pytest.mark.parametrize("default, values, at_once", [
    ("off", "", True), ("on", "", False),
    ("off", "yes", False), ("on", "yes", False), ("off", "no", True), ("on", "no", True),
    ("on", "NO", True), ("off", "YES", False), ("on", "No", True), ("off", "yEs", False),
    # Anything else says nothing.
    ("on", "off", False), ("off", "on", True), ("on", "0", False), ("off", "1", True), ("off", "yess", True),
    # The last one counts.
    ("off", "no,yes", False), ("on", "yes,no", True), ("on", "no,other", True),
])
def test_values(nginx, default, values, at_once):
    server = serve(nginx, APP, f"location / {{ wsgi_output_buffering {default}; wsgi_pass app.py; }}")
    assert leaves_at_once(f"/steps?{values}", server) == at_once


@pytest.mark.parametrize("default", ["on", "off"])
def test_ignored(nginx, default):
    server = serve(nginx, APP, f"location / {{ wsgi_output_buffering {default}; wsgi_pass app.py;"
                               " wsgi_ignore_headers X-Accel-Buffering; }")
    value = "no" if default == "on" else "yes"
    assert leaves_at_once(f"/steps?{value}", server) == (default == "off")


def test_the_header_is_hidden_and_the_next_request_is_not_concerned(twins):
    pair = twins(APP)
    for side in pair.sides():
        touch(side, "go")
    for value in ("no", "yes", "other"):
        # What fits a page is there as a whole when its head is sent.
        ignore = ("content-length", "transfer-encoding") if value == "yes" else ()
        answer = pair.get(f"/steps?{value}", ignore=ignore)
        assert (answer.body, answer.header("X-Accel-Buffering")) == (b"firstsecond", None)
        assert pair.get("/hello").body == b"hello"
