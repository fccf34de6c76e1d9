"""Several calls before one empty item: the first event that fires resumes, and the rest is taken back."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.waiting import nothing_left, resume, send, serve

pytestmark = pytest.mark.inline_only

APP = """
    def at_two(environ, start_response):
        start_response("200 OK", PLAIN)
        resumes["one"], resumes["two"] = environ["x-wsgiorg.suspend"](), environ["wsgi.pause_output"]()
        note("waits")
        yield b""
        note("goes on first")
        resumes["three"] = environ["x-wsgiorg.suspend"]()
        note("waits")
        yield b""
        yield b"done"

    def at_both(environ, start_response):
        # Two descriptors; then one that stays silent.
        start_response("200 OK", PLAIN)
        ends = [pair("a"), pair("b")]
        readable = environ["x-wsgiorg.fdevent.readable"]
        try:
            item = [readable(end) for end in ends][-1]
            note("waits")
            yield item
            note("goes on first")
            said = [None, None]
            for number, end in enumerate(ends):
                try:
                    said[number] = end.recv(10).decode()
                except BlockingIOError:
                    pass
            resumes["again"] = environ["x-wsgiorg.suspend"]()
            note("waits")
            yield b""
            yield json.dumps(said).encode()
        finally:
            part("a")
            part("b")

    def at_mixed(environ, start_response):
        # Everything that may resume, each with its own time.
        start_response("200 OK", PLAIN)
        resumes["one"] = environ["x-wsgiorg.suspend"](5000)
        resumes["two"] = environ["wsgi.pause_output"]()
        end = pair("a")
        try:
            item = environ["x-wsgiorg.fdevent.readable"](end, 6.0)
            note("waits")
            yield item
            yield json.dumps([bool(environ["x-wsgiorg.suspend_status"]), resumes["one"](), resumes["two"]()]).encode()
        finally:
            part("a")

    def at_times(environ, start_response):
        start_response("200 OK", PLAIN)
        begun = time.monotonic()
        environ["x-wsgiorg.suspend"](20000)
        environ["x-wsgiorg.suspend"](100)
        environ["x-wsgiorg.suspend"](30000)
        yield b""
        yield json.dumps([bool(environ["x-wsgiorg.suspend_status"]), time.monotonic() - begun]).encode()

    def at_later(environ, start_response):
        # The time of what was taken back does not resume the next suspension.
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.suspend"](150)
        environ["x-wsgiorg.suspend"]()()
        yield b""
        begun = time.monotonic()
        environ["x-wsgiorg.suspend"](600)
        yield b""
        yield json.dumps(time.monotonic() - begun).encode()
    """


def test_the_other_resume_is_too_late(nginx):
    server = serve(nginx, APP)
    client = send(server, "/two")
    assert resume(server, "two") is True
    wait_notes(server, "waits", 2)
    assert resume(server, "one") is False
    assert settled(lambda: notes(server, "goes on")) == ["goes on first"]
    assert client.buffer == b""
    assert resume(server, "three") is True
    assert client.read_response().body == b"done"


def test_the_first_descriptor_resumes_the_other_is_not_watched_any_more(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/both")
        server.get("/send?b")
        wait_notes(server, "waits", 2)
        server.get("/send?a")
        assert settled(lambda: notes(server, "goes on")) == ["goes on first"]
        assert resume(server, "again") is True
        assert client.read_response().json() == [None, "x"]


@pytest.mark.parametrize("target, said", [
    ("/resume?one", [False, False, False]), ("/resume?two", [False, False, False]), ("/send?a", [False, False, False]),
])
def test_whatever_comes_first(nginx, target, said):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/mixed")
        server.get(target)
        assert client.read_response().json() == said


def test_the_shortest_time_counts(nginx):
    server = serve(nginx, APP)
    timed_out, seconds = server.get("/times").json()
    assert timed_out is True and 0.09 < seconds < 10


def test_the_time_of_one_that_was_taken_back(nginx):
    server = serve(nginx, APP)
    assert server.get("/later").json() >= 0.59
