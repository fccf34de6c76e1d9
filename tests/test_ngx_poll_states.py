"""ngx.poll: register, announce, yield an empty item, and be told what happened."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.waiting import nothing_left, resume, send, serve

pytestmark = pytest.mark.inline_only

APP = """
    def registered(environ, *ends, flags=1):
        conns = [environ["ngx.connection_wrapper"](end) for end in ends]
        for conn in conns:
            environ["ngx.poll_register"](conn, flags)
        return conns

    def at_poll(environ, start_response):
        # Every message that comes to the first end, until it is hung up.
        start_response("200 OK", PLAIN)
        end = pair("a")
        (conn,) = registered(environ, end.fileno())
        try:
            while True:
                state = environ["ngx.poll"](20000)
                note("waits")
                yield b""
                found, flags = state()
                assert found is conn and found.fileno() == end.fileno(), found
                data = end.recv(100)
                note("state", flags, data)
                if not data:
                    break
            yield b"done"
        finally:
            part("a")
            note("finally")

    def at_time(environ, start_response):
        start_response("200 OK", PLAIN)
        (conn,) = registered(environ, pair("a"))
        begun = time.monotonic()
        state = environ["ngx.poll"](100)
        yield b""
        said = [state() == (None, 0), time.monotonic() - begun > 0.09, bool(environ["x-wsgiorg.suspend_status"])]
        pairs["a"][1].send(b"x")
        state = environ["ngx.poll"](20000)
        yield b""
        said += [state() == (conn, 1), state() == (conn, 1), bool(environ["x-wsgiorg.suspend_status"])]
        part("a")
        yield json.dumps(said).encode()

    def at_unregistered(environ, start_response):
        # What is unregistered does not resume any more; the other one does.
        start_response("200 OK", PLAIN)
        pair("a"), pair("b")
        one, two = registered(environ, pairs["a"][0], pairs["b"][0])
        environ["ngx.poll_unregister"](one)
        said = [raised(environ["ngx.poll_unregister"], one)]
        state = environ["ngx.poll"](20000)
        note("waits")
        yield b""
        said.append(state() == (two, 1))
        part("a")
        part("b")
        yield json.dumps(said).encode()

    def at_two(environ, start_response):
        start_response("200 OK", PLAIN)
        pair("a"), pair("b")
        conns = registered(environ, pairs["a"][0], pairs["b"][0])
        said = []
        for _ in range(3):
            state = environ["ngx.poll"]()
            note("waits")
            yield b""
            conn, flags = state()
            said.append(["ab"[conns.index(conn)], flags])
            pairs[said[-1][0]][0].recv(1)
        part("a")
        part("b")
        yield json.dumps(said).encode()

    def at_both_ready(environ, start_response):
        # One per resumption: the other one is told by the next.
        start_response("200 OK", PLAIN)
        pair("a"), pair("b")
        conns = registered(environ, pairs["a"][0], pairs["b"][0])
        for name in "ab":
            pairs[name][1].send(b"x")
        said = []
        for _ in range(2):
            state = environ["ngx.poll"](20000)
            yield b""
            conn, flags = state()
            said.append("ab"[conns.index(conn)])
            os.read(conn.fileno(), 1)
        part("a")
        part("b")
        yield json.dumps(sorted(said)).encode()

    def at_flags(environ, start_response):
        # Both directions of one connection.
        start_response("200 OK", PLAIN)
        end, said = pair("a"), []
        poll, register = environ["ngx.poll"], environ["ngx.poll_register"]
        conn = environ["ngx.connection_wrapper"](end)
        READ, WRITE = environ["ngx.WSGI_POLLIN"], environ["ngx.WSGI_POLLOUT"]
        register(conn, READ | WRITE)
        state = poll(20000)
        yield b""
        said.append(state()[1])                     # writable only
        pairs["a"][1].send(b"x")
        state = poll(20000)
        yield b""
        said.append(state()[1])                     # both
        register(conn, READ)
        state = poll(20000)
        yield b""
        said.append(state()[1])                     # readable only
        end.recv(1)
        state = poll(50)
        yield b""
        said.append(state())                        # nothing
        register(conn, WRITE)
        state = poll(20000)
        yield b""
        said.append(state()[1])
        part("a")
        yield json.dumps(said).encode()

    def at_early(environ, start_response):
        # state() before the application has waited.
        start_response("200 OK", PLAIN)
        (conn,) = registered(environ, pair("a"))
        state = environ["ngx.poll"](10)
        try:
            before = list(state())
        except Exception as error:
            before = type(error).__name__
        yield b""
        part("a")
        yield json.dumps([before, state()]).encode()

    def at_nothing(environ, start_response):
        # Nothing is registered: it is a sleep.
        start_response("200 OK", PLAIN)
        begun = time.monotonic()
        state = environ["ngx.poll"](100)
        yield b""
        yield json.dumps([state(), time.monotonic() - begun > 0.09]).encode()

    def at_resumed(environ, start_response):
        # By somebody else: no connection is ready, and no time is over.
        start_response("200 OK", PLAIN)
        registered(environ, pair("a"))
        resumes["a"] = environ["x-wsgiorg.suspend"]()
        state = environ["ngx.poll"](20000)
        note("waits")
        yield b""
        part("a")
        yield json.dumps([state(), bool(environ["x-wsgiorg.suspend_status"])]).encode()

    def at_hung(environ, start_response):
        start_response("200 OK", PLAIN)
        end = pair("a")
        try:
            while True:
                end.send(b"x" * 65536)
        except BlockingIOError:
            registered(environ, end, flags=4)
        state = environ["ngx.poll"](20000)
        note("waits")
        yield b""
        yield json.dumps(state()[1]).encode()
        part("a")

    def at_left(environ, start_response):
        # Registrations end with the request.
        start_response("200 OK", PLAIN)
        registered(environ, pair("a"))
        pairs["a"][1].send(b"x")
        part("a")
        yield b"left"

    def at_next(environ, start_response):
        start_response("200 OK", PLAIN)
        end = pair("b")
        pairs["b"][1].send(b"x")
        state = environ["ngx.poll"](50)
        yield b""
        part("b")
        yield json.dumps(state()).encode()

    def at_sleep(environ, start_response):
        start_response("200 OK", PLAIN)
        begun, said = time.monotonic(), []
        for milliseconds in (100, 0, 1):
            item = environ["ngx.sleep"](milliseconds)
            assert item == b""
            yield item
            said.append(bool(environ["x-wsgiorg.suspend_status"]))
        said.append(time.monotonic() - begun > 0.09)
        said += [raised(environ["ngx.sleep"], value) for value in (-1, None, 1.5)]
        yield json.dumps(said).encode()
    """


def test_messages_one_by_one(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/poll")
        for number in range(1, 4):
            assert settled(lambda: len(notes(server, "state")), quiet=0.05) == number - 1
            server.get("/send?a")
            wait_notes(server, "waits", number + 1)
        server.get("/hang_up?a")
        assert client.read_response().body == b"done"
    assert notes(server, "state") == ["state 1 b'x'"] * 3 + ["state 1 b''"]


@pytest.mark.parametrize("target, said", [
    ("/time", [True] * 5 + [False]), ("/both_ready", ["a", "b"]), ("/flags", [4, 5, 1, [None, 0], 4]),
    ("/nothing", [[None, 0], True]), ("/next", [None, 0]),
    ("/sleep", [True, True, True, True, "ValueError", "TypeError", "TypeError"]),
])
def test_by_itself(nginx, target, said):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.get("/left").body == b"left"
        for _ in range(2):
            found = server.get(target)
            assert found.status == 200, server.tail()
            assert found.json() == said


def test_what_was_unregistered(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/unregistered")
        server.get("/send?a")
        assert settled(lambda: client.buffer, quiet=0.1) == b""
        server.get("/send?b")
        assert client.read_response().json() == ["RuntimeError", True]


def test_two_connections(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/two")
        for number, name in enumerate("bab", 1):
            wait_notes(server, "waits", number)
            server.get(f"/send?{name}")
        assert client.read_response().json() == [["b", 1], ["a", 1], ["b", 1]]


def test_the_state_before_it_has_waited(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        before, after = server.get("/early").json()
    assert before in ([None, 0], "RuntimeError") and after == [None, 0]


def test_resumed_by_something_else(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/resumed")
        assert resume(server, "a") is True
        assert client.read_response().json() == [[None, 0], False]


def test_the_peer_of_a_writer_hangs_up(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/hung")
        server.get("/hang_up?a")
        assert client.read_response().json() == 4


def test_its_client_leaves(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/poll")
        client.reset()
        wait_notes(server, "finally")
    assert notes(server, "state") == []


def test_its_limit(nginx):
    server = serve(nginx, APP, http="wsgi_suspend_timeout 200ms;")
    with nothing_left(server):
        assert server.get("/poll").status == 504
        wait_notes(server, "finally")
