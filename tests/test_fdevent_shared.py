"""Several requests, or several directions, that wait for one descriptor."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.waiting import nothing_left, resume, send, serve, suspended

pytestmark = pytest.mark.inline_only

APP = """
    def at_open(environ, start_response):
        pair("shared")
        return answer(start_response, None)

    def at_part(environ, start_response):
        part("shared")
        return answer(start_response, None)

    def at_reader(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            note("waits")
            yield environ["x-wsgiorg.fdevent.readable"](pairs["shared"][0])
            try:
                yield pairs["shared"][0].recv(1)
            except BlockingIOError:
                yield b"-"
        finally:
            note("finally")

    def at_duplicate(environ, start_response):
        # Another number of the same socket.
        start_response("200 OK", PLAIN)
        fd = os.dup(pairs["shared"][0].fileno())
        try:
            note("waits")
            yield environ["x-wsgiorg.fdevent.readable"](fd)
            yield b"duplicate"
        finally:
            os.close(fd)
            note("finally")

    def at_fill(environ, start_response):
        try:
            while True:
                pairs["shared"][0].send(b"x" * 65536)
        except BlockingIOError:
            return answer(start_response, None)

    def at_writer(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            note("waits")
            yield environ["x-wsgiorg.fdevent.writable"](pairs["shared"][0])
            yield b"writable"
        finally:
            note("finally")

    def at_drain(environ, start_response):
        try:
            while True:
                pairs["shared"][1].recv(1 << 20)
        except BlockingIOError:
            return answer(start_response, None)

    def at_twice(environ, start_response):
        # One request, the same descriptor twice.
        start_response("200 OK", PLAIN)
        end = pairs["shared"][0]
        environ["x-wsgiorg.fdevent.readable"](end)
        environ["x-wsgiorg.fdevent.readable"](end, 10.0)
        note("waits")
        yield b""
        yield end.recv(1)

    def at_either(environ, start_response):
        # Full, so it becomes readable or writable, whichever comes first.
        start_response("200 OK", PLAIN)
        end = pairs["shared"][0]
        environ["x-wsgiorg.fdevent.readable"](end)
        environ["x-wsgiorg.fdevent.writable"](end)
        note("waits")
        yield b""
        yield b"either"
    """


def test_two_readers(nginx):
    """Both are told; the first one takes the byte."""
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        clients = [send(server, "/reader") for _ in range(2)]
        server.get("/send?shared")
        assert sorted(client.read_response().body for client in clients) in ([b"-", b"x"], [b"-", b"-"])
        for client in clients:
            client.close()
        server.get("/part")


def test_twenty_readers(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        clients = [send(server, "/reader") for _ in range(20)]
        server.get("/send?shared")
        assert sorted(client.read_response().body for client in clients)[-1] == b"x"
        for client in clients:
            client.close()
        server.get("/part")


@pytest.mark.parametrize("first", [0, 1])
def test_one_of_two_readers_leaves(nginx, first):
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        clients = [send(server, "/reader") for _ in range(2)]
        clients[first].reset()
        wait_notes(server, "finally")
        assert settled(lambda: notes(server, "finally"), quiet=0.1) == ["finally"]
        server.get("/send?shared")
        assert clients[1 - first].read_response().body == b"x"
        clients[1 - first].close()
        server.get("/part")


def test_two_numbers_of_one_socket(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        clients = [send(server, "/duplicate"), send(server, "/reader")]
        server.get("/send?shared")
        assert clients[0].read_response().body == b"duplicate"
        assert clients[1].read_response().body == b"x"
        for client in clients:
            client.close()
        server.get("/part")


@pytest.mark.parametrize("order", [["/reader", "/writer"], ["/writer", "/reader"]])
@pytest.mark.parametrize("first", ["/reader", "/writer"])
def test_a_reader_and_a_writer(nginx, order, first):
    """Each direction has its own event: one does not wake the other."""
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        server.get("/fill")
        clients = {target: send(server, target) for target in order}
        events = {"/reader": ("/send?shared", b"x"), "/writer": ("/drain", b"writable")}
        event, said = events.pop(first)
        server.get(event)
        assert clients[first].read_response().body == said
        assert settled(lambda: notes(server, "finally"), quiet=0.1) == ["finally"]
        ((target, (event, said)),) = events.items()
        server.get(event)
        assert clients[target].read_response().body == said
        for client in clients.values():
            client.close()
        server.get("/part")


def test_a_writer_leaves_while_a_reader_waits(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        server.get("/fill")
        reader, writer = send(server, "/reader"), send(server, "/writer")
        writer.reset()
        wait_notes(server, "finally")
        # What nobody waits for any more does not wake anybody.
        server.get("/drain")
        assert settled(lambda: notes(server, "finally"), quiet=0.1) == ["finally"]
        server.get("/send?shared")
        assert reader.read_response().body == b"x"
        reader.close()
        server.get("/part")


def test_the_peer_hangs_up_on_both(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        server.get("/fill")
        reader, writer = send(server, "/reader"), send(server, "/writer")
        server.get("/hang_up?shared")
        assert writer.read_response().body == b"writable"
        # Its peer has left unread data, so reading is an error or the end.
        assert reader.read_response().status in (200, 500)
        server.allow("ConnectionResetError")
        for client in (reader, writer):
            client.close()
        server.get("/part")


def test_twice_in_one_request(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        client = send(server, "/twice")
        server.get("/send?shared")
        assert client.read_response().body == b"x"
        client.close()
        server.get("/part")


@pytest.mark.parametrize("event", ["/send?shared", "/drain"])
def test_both_directions_in_one_request(nginx, event):
    server = serve(nginx, APP)
    with nothing_left(server):
        server.get("/open")
        server.get("/fill")
        client = send(server, "/either")
        server.get(event)
        assert client.read_response().body == b"either"
        client.close()
        server.get("/part")


def test_the_descriptor_of_a_client_of_nginx(nginx):
    """Nobody should, but nginx's own connection survives it."""
    server = serve(nginx, """
        import contextlib

        def at_own(environ, start_response):
            # The socket of this very request, found by its peer's port.
            start_response("200 OK", PLAIN)
            found = []
            for name in os.listdir("/proc/self/fd"):
                if os.path.realpath(f"/proc/self/fd/{name}").rpartition("/")[2].startswith("socket:"):
                    with socket.socket(fileno=os.dup(int(name))) as sock, contextlib.suppress(OSError):
                        if sock.getpeername()[1:] == (int(environ["REMOTE_PORT"]),):
                            found.append(int(name))
            note("waits", len(found))
            try:
                resumes["a"] = environ["x-wsgiorg.suspend"]()
                yield environ["x-wsgiorg.fdevent.readable"](found[0])
            except OSError as error:
                note("refused", error)
            yield b"own"
        """)
    with nothing_left(server):
        client = send(server, "/own")
        assert notes(server, "waits") == ["waits 1"]
        if not notes(server, "refused"):
            resume(server, "a")
        assert client.read_response().body == b"own"
        assert client.request("GET", "/hello").body == b"hello"
        suspended(server)
        client.close()
