"""The time that an application gives a suspension: what it may be, and how the application learns of its end."""

import pytest

from harness.apps import notes
from harness.waiting import nothing_left, resume, send, serve, suspended

pytestmark = pytest.mark.inline_only

APP = """
    def at_time(environ, start_response):
        start_response("200 OK", PLAIN)
        status, said = environ["x-wsgiorg.suspend_status"], []
        for milliseconds in json.loads(environ["QUERY_STRING"]):
            begun = time.monotonic()
            resume = environ["x-wsgiorg.suspend"](milliseconds)
            yield b""
            said.append([bool(status), resume(), time.monotonic() - begun])
        yield json.dumps(said).encode()

    def at_changes(environ, start_response):
        # Timed out, then resumed, then an ordinary empty item.
        start_response("200 OK", PLAIN)
        status, said = environ["x-wsgiorg.suspend_status"], []
        environ["x-wsgiorg.suspend"](10)
        yield b""
        said.append(bool(status))
        resumes["a"] = environ["x-wsgiorg.suspend"](30000)
        note("waits")
        yield b""
        said.append(bool(status))
        environ["x-wsgiorg.suspend"](10)
        yield b""
        said.append(bool(status))
        environ["x-wsgiorg.suspend"](30000)()
        yield b""
        said.append(bool(status))
        yield json.dumps(said).encode()

    def at_mine(environ, start_response):
        # Two requests look at the same object.
        start_response("200 OK", PLAIN)
        name = environ["QUERY_STRING"]
        resumes[name] = environ["x-wsgiorg.suspend"](500 if name == "short" else 30000)
        note("waits")
        yield b""
        first = bool(environ["x-wsgiorg.suspend_status"])
        # The other one runs in between.
        resumes[name] = environ["x-wsgiorg.suspend"]()
        note("waits")
        yield b""
        yield json.dumps([first, bool(environ["x-wsgiorg.suspend_status"])]).encode()

    def at_bad(environ, start_response):
        suspend = environ["x-wsgiorg.suspend"]
        class Own:
            def __index__(self):
                return 5
        return answer(start_response, [
            raised(suspend, value) for value in (-1, -(2 ** 70), 1.5, "1", b"1", [], 2 ** 31, 2 ** 70)] + [
            raised(suspend, 1, 2), raised(lambda: suspend(timeout_ms=1)), raised(lambda: suspend(timeout=1))])

    def at_large(environ, start_response):
        start_response("200 OK", PLAIN)
        resumes["a"] = environ["x-wsgiorg.suspend"](json.loads(environ["QUERY_STRING"]))
        note("waits")
        yield b""
        yield json.dumps(bool(environ["x-wsgiorg.suspend_status"])).encode()
    """


def test_the_end_of_the_time_resumes(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        for timed_out, resumed, seconds in server.get("/time?[100,1,150]").json():
            assert timed_out is True and resumed is False
        assert server.get("/time?[100]").json()[0][2] > 0.09


def test_no_time_at_all(nginx):
    """The loop goes first, and then the application: with its time over."""
    server = serve(nginx, APP)
    assert [one[:2] for one in server.get("/time?[0,0,0]").json()] == [[True, False]] * 3


def test_none_is_no_time_of_its_own(nginx):
    server = serve(nginx, APP)
    client = send(server, "/large?null")
    assert resume(server, "a") is True
    assert client.read_response().json() is False


@pytest.mark.parametrize("milliseconds", ["59999", "60000", "3600000", "2147483647"])
def test_long_times(nginx, milliseconds):
    server = serve(nginx, APP)
    client = send(server, f"/large?{milliseconds}")
    assert resume(server, "a") is True
    assert client.read_response().json() is False


def test_the_status_changes_with_each_suspension(nginx):
    server = serve(nginx, APP)
    client = send(server, "/changes")
    assert resume(server, "a") is True
    assert client.read_response().json() == [True, False, True, False]


def test_each_request_has_its_own_status(nginx):
    """The object is the same for all; it answers for the request that asks."""
    server = serve(nginx, APP)
    long, short = server.connect(), server.connect()
    long.send_request("GET", "/mine?long")
    short.send_request("GET", "/mine?short")
    # The short one's time ends; the long one is resumed; both look, in another order.
    suspended(server, 3)
    assert resume(server, "long") is True
    suspended(server, 4)
    assert resume(server, "long") is True
    assert long.read_response().json() == [False, False]
    assert resume(server, "short") is True
    assert short.read_response().json() == [True, False]


def test_what_is_no_time(nginx):
    server = serve(nginx, APP)
    found = server.get("/bad").json()
    assert found[0] in ("ValueError", "OverflowError") and found[1] in ("ValueError", "OverflowError")
    assert found[2:6] == ["TypeError"] * 4
    # wsgi_suspend_timeout comes before any of these.
    assert found[6:8] == [None, None]
    assert found[8:] == ["TypeError"] * 3


def test_times_end_in_their_order(nginx):
    server = serve(nginx, """
        def at_order(environ, start_response):
            start_response("200 OK", PLAIN)
            environ["x-wsgiorg.suspend"](int(environ["QUERY_STRING"]))
            note("waits")
            yield b""
            note("over", environ["QUERY_STRING"])
            yield b"over"
        """)
    clients = [server.connect() for _ in range(4)]
    for client, milliseconds in zip(clients, (1200, 400, 1600, 800)):
        client.send_request("GET", f"/order?{milliseconds}")
    for client in clients:
        assert client.read_response().body == b"over"
    assert notes(server, "over") == ["over 400", "over 800", "over 1200", "over 1600"]
