"""x-wsgiorg.fdevent: every kind of descriptor that can be waited for, in both directions."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.waiting import nothing_left, send, serve, suspended

pytestmark = pytest.mark.inline_only

APP = """
    import ctypes
    import errno

    _c = ctypes.CDLL(None, use_errno=True)

    def readable(environ, *args):
        note("waits")
        return environ["x-wsgiorg.fdevent.readable"](*args)

    def writable(environ, *args):
        note("waits")
        return environ["x-wsgiorg.fdevent.writable"](*args)

    def at_level(environ, start_response):
        # Nobody reads the whole: it is readable as long as something is there.
        start_response("200 OK", PLAIN)
        end = pair("a")
        pairs["a"][1].send(b"12345")
        found = []
        try:
            while len(found) < 5:
                yield readable(environ, end, 5.0)
                found.append([end.recv(1).decode(), bool(environ["x-wsgiorg.fdevent.timeout"])])
            yield readable(environ, end, 0.05)
            found.append(bool(environ["x-wsgiorg.fdevent.timeout"]))
            yield json.dumps(found).encode()
        finally:
            part("a")

    def at_much(environ, start_response):
        # A megabyte in each direction between two ends of this very application.
        start_response("200 OK", PLAIN)
        end = pair("a")
        other, size, got = pairs["a"][1], 1_000_000, 0
        data = memoryview(bytes(size))
        try:
            sent = 0
            while got < size:
                try:
                    sent += other.send(data[sent:sent + 70_000]) if sent < size else 0
                except BlockingIOError:
                    pass
                yield environ["x-wsgiorg.fdevent.readable"](end)
                got += len(end.recv(50_000))
            yield str(got).encode()
        finally:
            part("a")

    def at_full(environ, start_response):
        start_response("200 OK", PLAIN)
        end = pair("a")
        try:
            while True:
                end.send(b"x" * 65536)
        except BlockingIOError:
            pass
        yield writable(environ, end)
        note("goes on")
        yield json.dumps(end.send(b"y") == 1).encode()
        part("a")

    def at_drain(environ, start_response):
        total = 0
        try:
            while True:
                total += len(pairs["a"][1].recv(1 << 20))
        except BlockingIOError:
            return answer(start_response, total > 0)

    def at_pipe(environ, start_response):
        start_response("200 OK", PLAIN)
        reads, writes = os.pipe()
        pairs["pipe"] = os.fdopen(reads, "rb", 0), os.fdopen(writes, "wb", 0)
        try:
            yield readable(environ, reads)
            yield json.dumps(os.read(reads, 100).decode()).encode()
        finally:
            part("pipe")

    def at_pipe_write(environ, start_response):
        pairs["pipe"][1].write(b"piped")
        return answer(start_response, None)

    def at_pipe_close(environ, start_response):
        pairs["pipe"][1].close()
        return answer(start_response, None)

    def at_reader_gone(environ, start_response):
        # Writing would raise EPIPE: to be told so, the application goes on.
        start_response("200 OK", PLAIN)
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        try:
            while True:
                os.write(writes, b"x" * 65536)
        except BlockingIOError:
            pass
        pairs["pipe"] = os.fdopen(reads, "rb", 0), os.fdopen(writes, "wb", 0)
        yield writable(environ, writes)
        yield json.dumps(raised(os.write, writes, b"x")).encode()
        part("pipe")

    def at_reader_close(environ, start_response):
        pairs["pipe"][0].close()
        return answer(start_response, None)

    def at_hung_up(environ, start_response):
        start_response("200 OK", PLAIN)
        end = pair("a")
        yield readable(environ, end)
        yield json.dumps(end.recv(10).decode()).encode()
        end.close()

    def at_eventfd(environ, start_response):
        start_response("200 OK", PLAIN)
        fd = _c.eventfd(0, 0o4000)
        resumes["eventfd"] = lambda: os.write(fd, (7).to_bytes(8, "little"))
        yield readable(environ, fd)
        yield json.dumps(int.from_bytes(os.read(fd, 8), "little")).encode()
        os.close(fd)

    def at_timerfd(environ, start_response):
        start_response("200 OK", PLAIN)
        fd = _c.timerfd_create(1, 0o4000)
        spec = (ctypes.c_long * 4)(0, 50_000_000, 0, 50_000_000)
        assert _c.timerfd_settime(fd, 0, spec, None) == 0
        for _ in range(3):
            yield readable(environ, fd)
            assert int.from_bytes(os.read(fd, 8), "little") >= 1
        yield b'"ticks"'
        os.close(fd)

    def at_udp(environ, start_response):
        start_response("200 OK", PLAIN)
        end, other = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
        end.bind(("127.0.0.1", 0))
        resumes["udp"] = lambda: other.sendto(b"datagram", end.getsockname())
        yield readable(environ, end)
        yield json.dumps(end.recv(100).decode()).encode()
        end.close()
        other.close()

    def at_listens(environ, start_response):
        # A listening socket: accept() does not block.
        start_response("200 OK", PLAIN)
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        caller = socket.socket()
        caller.setblocking(False)
        said = [raised(caller.connect, listening.getsockname())]
        yield environ["x-wsgiorg.fdevent.readable"](listening)
        accepted = listening.accept()[0]
        yield environ["x-wsgiorg.fdevent.writable"](caller)
        said.append(caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        caller.send(b"called")
        yield environ["x-wsgiorg.fdevent.readable"](accepted)
        said.append(accepted.recv(10).decode())
        for sock in (listening, caller, accepted):
            sock.close()
        yield json.dumps(said).encode()

    def at_refused(environ, start_response):
        start_response("200 OK", PLAIN)
        taken = socket.create_server(("127.0.0.1", 0))
        address = taken.getsockname()
        taken.close()
        caller = socket.socket()
        caller.setblocking(False)
        caller.connect_ex(address)
        yield environ["x-wsgiorg.fdevent.writable"](caller)
        yield json.dumps(errno.errorcode[caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]).encode()
        caller.close()

    def at_child(environ, start_response):
        import subprocess
        start_response("200 OK", PLAIN)
        child = subprocess.Popen(["sh", "-c", "read line; echo got $line"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        resumes["child"] = lambda: os.write(child.stdin.fileno(), b"it\\n")
        yield readable(environ, child.stdout)
        said = child.stdout.readline().decode()
        yield readable(environ, child.stdout)
        yield json.dumps([said, child.stdout.read().decode(), child.wait()]).encode()
        child.stdin.close()
        child.stdout.close()

    def at_pty(environ, start_response):
        import pty
        start_response("200 OK", PLAIN)
        master, slave = pty.openpty()
        resumes["pty"] = lambda: os.write(slave, b"line\\n")
        yield readable(environ, master)
        yield json.dumps(os.read(master, 100).decode().strip()).encode()
        os.close(master)
        os.close(slave)

    def at_own_client(environ, start_response):
        # A request to this very worker, which answers it while this one waits.
        start_response("200 OK", PLAIN)
        client = socket.create_connection(("127.0.0.1", int(environ["SERVER_PORT"])))
        client.setblocking(False)
        client.send(b"GET /hello HTTP/1.0\\r\\n\\r\\n")
        data = b""
        while True:
            yield environ["x-wsgiorg.fdevent.readable"](client)
            piece = client.recv(100)
            if not piece:
                break
            data += piece
        client.close()
        yield json.dumps(data.decode().split("\\r\\n\\r\\n")[1]).encode()
    """


@pytest.mark.parametrize("fd", ["object", "number"])
def test_a_socket(nginx, fd):
    server = serve(nginx, """
        def at_socket(environ, start_response):
            start_response("200 OK", PLAIN)
            end = pair("a")
            note("waits")
            item = environ["x-wsgiorg.fdevent.readable"](end if environ["QUERY_STRING"] == "object" else end.fileno())
            assert item == b"" and type(item) is bytes
            yield item
            note("goes on")
            yield end.recv(10) + str(bool(environ["x-wsgiorg.fdevent.timeout"])).encode()
            part("a")
        """)
    with nothing_left(server):
        client = send(server, f"/socket?{fd}")
        assert settled(lambda: notes(server, "goes on")) == []
        server.get("/send?a")
        assert client.read_response().body == b"xFalse"
        client.close()


@pytest.mark.parametrize("target, said", [
    ("/level", [*([digit, False] for digit in "12345"), True]), ("/much", 1_000_000), ("/timerfd", "ticks"),
    ("/listens", ["BlockingIOError", 0, "called"]), ("/refused", "ECONNREFUSED"), ("/own_client", "hello"),
])
def test_by_itself(nginx, target, said):
    server = serve(nginx, APP)
    with nothing_left(server):
        for _ in range(2):
            found = server.get(target)
            assert found.status == 200, server.tail()
            assert found.json() == said


@pytest.mark.parametrize("target, event, said", [
    ("/full", "/drain", True), ("/pipe", "/pipe_write", "piped"), ("/pipe", "/pipe_close", ""),
    ("/reader_gone", "/reader_close", "BrokenPipeError"), ("/hung_up", "/hang_up?a", ""),
    ("/eventfd", "/resume?eventfd", 7), ("/udp", "/resume?udp", "datagram"),
    ("/child", "/resume?child", ["got it\n", "", 0]), ("/pty", "/resume?pty", "line"),
])
def test_by_an_event(nginx, target, event, said):
    server = serve(nginx, APP)
    with nothing_left(server):
        for turn in range(2):
            count = len(notes(server, "waits"))
            client = send(server, target)
            assert settled(lambda: notes(server, "waits"), quiet=0.1) == ["waits"] * (count + 1)
            assert client.buffer == b""
            assert server.get(event).status == 200, server.tail()
            found = client.read_response()
            assert found.status == 200, server.tail()
            assert found.json() == said
            client.close()


@pytest.mark.parametrize("direction", ["readable", "writable"])
def test_ready_at_once(nginx, direction):
    """The application goes on, after the other events of the loop."""
    server = serve(nginx, """
        def at_ready(environ, start_response):
            start_response("200 OK", PLAIN)
            end = pair("a")
            pairs["a"][1].send(b"x")
            for _ in range(200):
                yield environ["x-wsgiorg.fdevent." + environ["QUERY_STRING"]](end)
            part("a")
            yield b"ready"
        """)
    with nothing_left(server):
        assert server.get(f"/ready?{direction}").body == b"ready"


def test_many_at_the_same_time(nginx):
    server = serve(nginx)
    with nothing_left(server):
        clients = [server.connect() for _ in range(100)]
        for number, client in enumerate(clients):
            client.send_request("GET", f"/readable?{number}")
        suspended(server, 100)
        for number in reversed(range(100)):
            server.get(f"/send?{number}")
        for client in clients:
            assert client.read_response().body == b"read x"
            client.close()
        wait_notes(server, "finally", 100)
