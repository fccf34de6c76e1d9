"""x-wsgiorg.fdevent.timeout, and the times of readable() and writable()."""

import pytest

from harness.waiting import nothing_left, send, serve

pytestmark = pytest.mark.inline_only

APP = """
    def at_time(environ, start_response):
        start_response("200 OK", PLAIN)
        end, timeout, found = pair("a"), environ["x-wsgiorg.fdevent.timeout"], []
        try:
            for seconds in json.loads(environ["QUERY_STRING"]):
                begun = time.monotonic()
                yield environ["x-wsgiorg.fdevent.readable"](end, seconds)
                found.append([bool(timeout), time.monotonic() - begun])
            yield json.dumps(found).encode()
        finally:
            part("a")

    def at_changes(environ, start_response):
        start_response("200 OK", PLAIN)
        end, timeout, found = pair("a"), environ["x-wsgiorg.fdevent.timeout"], []
        try:
            yield environ["x-wsgiorg.fdevent.readable"](end, 0.01)
            found.append(bool(timeout))
            pairs["a"][1].send(b"x")
            yield environ["x-wsgiorg.fdevent.readable"](end, 10.0)
            found.append(bool(timeout))
            end.recv(1)
            yield environ["x-wsgiorg.fdevent.readable"](end, 0.01)
            found.append(bool(timeout))
            yield environ["x-wsgiorg.fdevent.writable"](end, 10.0)
            found.append(bool(timeout))
            note("waits")
            yield environ["x-wsgiorg.fdevent.readable"](end, 10)
            found.append(bool(timeout))
            yield json.dumps(found).encode()
        finally:
            part("a")
    """


def test_fractions_of_seconds(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        found = server.get("/time?[0.1,0.05,0.001,1e-9,0,0.0]").json()
    assert [timed_out for timed_out, _ in found] == [True] * 6
    assert found[0][1] > 0.09 and found[1][1] > 0.04


def test_whole_seconds(nginx):
    server = serve(nginx, APP)
    ((timed_out, seconds),) = server.get("/time?[1]").json()
    assert timed_out is True and seconds > 0.99


def test_no_time_and_something_to_read(nginx):
    """A look at what is there, as select() with a time of 0: readiness may win or the time, nothing hangs."""
    server = serve(nginx, """
        def at_look(environ, start_response):
            start_response("200 OK", PLAIN)
            end = pair("a")
            pairs["a"][1].send(b"x")
            yield environ["x-wsgiorg.fdevent.readable"](end, 0)
            yield json.dumps(bool(environ["x-wsgiorg.fdevent.timeout"])).encode()
            part("a")
        """)
    with nothing_left(server):
        assert server.get("/look").json() is False


def test_its_truth_changes(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/changes")
        server.get("/send?a")
        assert client.read_response().json() == [True, False, True, False, False]
        client.close()
