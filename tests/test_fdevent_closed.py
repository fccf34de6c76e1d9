"""A descriptor that the application closes while somebody waits for it, and its number used again."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.waiting import nothing_left, resume, send, serve, suspended

pytestmark = pytest.mark.inline_only

APP = """
    def at_both(environ, start_response):
        # Waits for a descriptor, or to be resumed.
        start_response("200 OK", PLAIN)
        end = pair("a")
        resumes["a"] = environ["x-wsgiorg.suspend"]()
        environ["x-wsgiorg.fdevent." + (environ["QUERY_STRING"] or "readable")](end)
        try:
            note("waits")
            yield b""
            note("goes on")
            yield b"done"
        finally:
            note("finally")

    def at_close(environ, start_response):
        number = pairs["a"][0].fileno()
        for end in pairs.pop("a"):
            end.close()
        return answer(start_response, number)

    def at_close_first(environ, start_response):
        # Only the descriptor that is watched; its peer stays.
        number = pairs["a"][0].fileno()
        pairs["a"][0].close()
        return answer(start_response, number)

    def at_again(environ, start_response):
        # The same number becomes another socket, on which somebody waits.
        start_response("200 OK", PLAIN)
        number = pairs["a"][0].fileno()
        for end in pairs.pop("a"):
            end.close()
        end = pair("b")
        if end.fileno() != number:
            os.dup2(end.fileno(), number)
        note("number", number == end.fileno())
        try:
            note("waits")
            yield environ["x-wsgiorg.fdevent.readable"](number)
            yield os.read(number, 10)
        finally:
            if end.fileno() != number:
                os.close(number)
            part("b")
            note("finally")

    def at_file(environ, start_response):
        # The same number becomes a regular file.
        number = pairs["a"][0].detach()
        pairs.pop("a")[1].close()
        fd = os.open(__file__, os.O_RDONLY)
        os.dup2(fd, number)
        os.close(fd)
        try:
            return answer(start_response, raised(environ["x-wsgiorg.fdevent.readable"], number))
        finally:
            os.close(number)

    def at_replaced(environ, start_response):
        # dup2() over a watched number: it is another file now, and it is ready.
        ready = socket.socketpair()
        ready[1].send(b"ready")
        os.dup2(ready[0].fileno(), pairs["a"][0].fileno())
        for end in ready:
            end.close()
        return answer(start_response, None)

    def at_part(environ, start_response):
        for name in list(pairs):
            part(name)
        return answer(start_response, None)

    def at_storm(environ, start_response):
        # Descriptors come and go, all with the same few numbers, each closed in another state of waiting.
        start_response("200 OK", PLAIN)
        for turn in range(300):
            one, two = socket.socketpair()
            one.setblocking(False)
            if turn % 3 == 0:
                two.send(b"x")
            if turn % 5 == 0:
                environ["x-wsgiorg.suspend"](0)
            item = environ["x-wsgiorg.fdevent.readable"](one, 0.002)
            if turn % 2:
                one.close()
            if turn % 7 == 0:
                two.close()
            yield item
            one.close()
            two.close()
        yield b"storm"
    """


@pytest.mark.parametrize("direction", ["readable"])
def test_closed_while_it_waits(nginx, direction):
    """Nothing happens to the request: it waits for what else may resume it."""
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, f"/both?{direction}")
        server.get("/close")
        settled(lambda: notes(server), quiet=0.1)
        resume(server, "a")
        assert client.read_response().body == b"done"
        client.close()


def test_closed_and_the_peer_sends(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/both")
        server.get("/close_first")
        for _ in range(3):
            assert server.get("/hello").body == b"hello"
        resume(server, "a")
        assert client.read_response().body == b"done"
        client.close()
        server.get("/part")


def test_closed_and_the_client_leaves(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/both")
        server.get("/close")
        client.reset()
        wait_notes(server, "finally")


def test_its_number_is_used_again_by_another_request(nginx):
    """The new file has its own events; the old watch neither steals nor spoils them."""
    server = serve(nginx, APP)
    with nothing_left(server):
        old = send(server, "/both")
        new = send(server, "/again")
        assert settled(lambda: notes(server, "goes on") + notes(server, "finally"), quiet=0.1) in (
            [], ["goes on", "finally"])
        server.get("/send?b")
        assert new.read_response().body == b"x"
        resume(server, "a")
        assert old.read_response().body == b"done"
        old.close()
        new.close()


@pytest.mark.parametrize("who", ["old", "new"])
def test_its_number_is_used_again_and_one_leaves(nginx, who):
    """The end of the old watch is not the end of the new one."""
    server = serve(nginx, APP)
    with nothing_left(server):
        clients = {"old": send(server, "/both"), "new": send(server, "/again")}
        clients[who].reset()
        wait_notes(server, "finally")
        if who == "old":
            server.get("/send?b")
            assert clients["new"].read_response().body == b"x"
        else:
            resume(server, "a")
            assert clients["old"].read_response().body == b"done"
        for client in clients.values():
            client.close()


def test_its_number_becomes_a_regular_file(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/both")
        assert server.get("/file").json() == "PermissionError"
        resume(server, "a")
        assert client.read_response().body == b"done"
        client.close()


def test_another_file_takes_its_place(nginx):
    """By dup2(): the old file is gone from the loop, whatever that means for the one who waited."""
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/both")
        server.get("/replaced")
        settled(lambda: notes(server), quiet=0.1)
        resume(server, "a")
        assert client.read_response().body == b"done"
        client.close()
        server.get("/part")


def test_closed_before_the_empty_item(nginx):
    server = serve(nginx, """
        def at_gone(environ, start_response):
            start_response("200 OK", PLAIN)
            item = environ["x-wsgiorg.fdevent.readable"](pair("a"), 0.1)
            part("a")
            yield item
            yield json.dumps(bool(environ["x-wsgiorg.fdevent.timeout"])).encode()
        """)
    with nothing_left(server):
        for _ in range(3):
            assert server.get("/gone").json() in (True, False)


def test_descriptors_that_come_and_go(nginx):
    server = serve(nginx, APP, connections=32)
    with nothing_left(server):
        clients = [server.connect() for _ in range(4)]
        for client in clients:
            client.send_request("GET", "/storm")
        for client in clients:
            assert client.read_response().body == b"storm"
            client.close()
    assert not server.log_lines("worker_connections|Bad file descriptor")


def test_the_worker_ends_with_a_closed_descriptor_watched(nginx):
    server = serve(nginx, APP, check_connections=False, check_fds=False, allow=["open socket left"])
    client = send(server, "/both")
    server.get("/close")
    suspended(server)
    server.signal("TERM")
    assert server.wait_exit() == 0
    assert notes(server, "finally") == ["finally"]
    client.close()
