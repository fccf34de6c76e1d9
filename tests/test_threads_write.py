"""write() in a thread: it returns when its block is with the kernel, over every protocol."""

import pytest

from harness.apps import in_kernel, notes, settled, touch, wait_notes
from harness.http import Truncated
from harness.nginx import open_fds, rss, wait_for
from harness.threads import serve

MIB = 1024 * 1024
APP = """
    def at_big(environ, start_response):
        size, count = map(int, environ["QUERY_STRING"].split(","))
        write = start_response("200 OK", PLAIN)
        for number in range(count):
            write(b"%08d" % number * (size // 8))
            note("written", number)
        return []

    def at_until_it_fails(environ, start_response):
        write = start_response("200 OK", PLAIN)
        ident = threading.get_ident()
        try:
            while True:
                write(b"x" * 10000)
                note("written")
        except OSError as error:
            note("raised", type(error).__name__, ident == threading.get_ident())
            note("again", raised(write, b"more"))
        return Body(b"never", name="failed")

    def at_uncaught(environ, start_response):
        write = start_response("200 OK", PLAIN)
        while True:
            write(b"x" * 10000)
            note("written")

    def at_steps(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for number in range(3):
            write(b"step %d" % number)
            block_until_there(f"go{number}")
        return [b"the", b" end"]
    """


def blocks(size, count):
    return b"".join(b"%08d" % number * (size // 8) for number in range(count))


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("size, count", [(8_000, 2500), (200_000, 100), (4_000_000, 5)])
def test_it_returns_when_the_block_is_with_the_kernel(nginx, tls, size, count):
    server = serve(nginx, APP, tls=True)
    client = server.connect(tls=tls, rcvbuf=4096)
    client.send_request("GET", f"/big?{size},{count}")
    head = client.read_head()
    written = settled(lambda: len(notes(server, "written")))
    assert written < count
    # A little of it was received already, together with the head.
    received = len(client.buffer)
    assert written * size <= in_kernel(client) + received + 65536 * tls
    assert in_kernel(client) <= (written + 1) * size * 1.1 + 65536
    assert server.get("/hello").body == b"hello"
    client.read_body(head)
    assert head.body == blocks(size, count)


@pytest.mark.parametrize("tls", [False, True])
def test_http_2(nginx, tls):
    """No file: with threads nothing needs to be put aside."""
    size, count = 10_000, 500
    server = serve(nginx, APP, tls=True, h2c=True)
    client = server.h2(tls=tls, hold=True)
    before = rss(server.worker)
    stream = client.send_request("GET", f"/big?{size},{count}")
    client.wait(lambda: len(stream.body) >= 65535, "a full window")
    client.quiet(0.1)
    written = settled(lambda: len(notes(server, "written")))
    assert written * size <= len(stream.body) == 65535
    assert not [target for target in open_fds(server.worker).values() if "wsgi_temp" in target]
    assert rss(server.worker) - before < 4 * MIB
    client.h2.increment_flow_control_window(1_000_000)
    client.flush()
    assert client.request("GET", "/hello").body == b"hello"
    client.hold = False
    client.release()
    client.finish(stream)
    assert stream.complete and bytes(stream.body) == blocks(size, count)


@pytest.mark.parametrize("how", ["plain", "tls", "h2"])
def test_each_block_is_there_before_the_next_is_written(nginx, how):
    server = serve(nginx, APP, tls=True, h2c=True)
    if how == "h2":
        client = server.h2()
        stream = client.send_request("GET", "/steps")
        for number in range(3):
            wanted = b"".join(b"step %d" % each for each in range(number + 1))
            client.wait(lambda: stream.body == wanted, wanted)
            touch(server, f"go{number}")
        client.finish(stream)
        assert stream.body == b"step 0step 1step 2the end"
        return
    client = server.connect(tls=how == "tls")
    client.send_request("GET", "/steps")
    head = client.read_head()
    for number in range(3):
        assert client.read_chunk(head) == b"step %d" % number
        touch(server, f"go{number}")
    rest = b""
    while chunk := client.read_chunk(head):
        rest += chunk
    assert rest == b"the end"


@pytest.mark.parametrize("how", ["reset", "stream", "tls"])
def test_a_client_that_leaves_is_a_connection_reset(nginx, how):
    server = serve(nginx, APP, tls=True, h2c=True)
    if how == "stream":
        client = server.h2(hold=True)
        stream = client.send_request("GET", "/until_it_fails")
        client.wait(lambda: len(stream.body) >= 65535, "a full window")
        client.reset(stream)
    else:
        client = server.connect(rcvbuf=4096, tls=how == "tls")
        client.send_request("GET", "/until_it_fails")
        client.read_head()
        settled(lambda: len(notes(server, "written")))
        client.close() if how == "tls" else client.reset()
    assert wait_notes(server, "raised") == ["raised ConnectionResetError True"]
    assert wait_notes(server, "again") == ["again ConnectionResetError"]
    wait_notes(server, "close failed")
    assert server.get("/hello").body == b"hello"
    assert notes(server, "close") == ["close failed"]


def test_it_is_no_error_of_the_application_to_let_that_pass(nginx):
    server = serve(nginx, APP)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/uncaught")
    client.read_head()
    client.reset()
    wait_for(lambda: server.status()["writing"] == 1, "the request is over")
    assert server.get("/hello").body == b"hello"


def test_send_timeout_raises_too(nginx):
    server = serve(nginx, APP, http="send_timeout 200ms;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/until_it_fails")
    (note,) = wait_notes(server, "raised")
    assert note.endswith("True")
    wait_notes(server, "close failed")
    with pytest.raises(Truncated):
        client.read_response()


def test_nobody_else_waits(nginx):
    server = serve(nginx, APP, threads=2)
    slow = server.connect(rcvbuf=4096)
    slow.send_request("GET", "/big?100000,100")
    slow.read_head()
    settled(lambda: len(notes(server, "written")))
    for number in range(10):
        assert server.get("/hello").body == b"hello"
        assert server.get("/ok").body == b"ok"
    assert not server.log_lines("blocks the event loop")
    slow.reset()


def test_write_between_blocks_and_in_close(nginx):
    server = serve(nginx, """
        def at_mixed(environ, start_response):
            write = start_response("200 OK", PLAIN)
            class Mixed:
                def __iter__(self):
                    write(b"1 ")
                    yield b"2 "
                    write(b"3 " * 50_000)
                    yield b"4 "
                    write(b"5 ")
                def close(self):
                    note("close", raised(write, b"6 "))
            write(b"0 ")
            return Mixed()
        """, h2c=True)
    wanted = b"0 1 2 " + b"3 " * 50_000 + b"4 5 "
    assert server.get("/mixed").body == wanted
    assert server.h2().request("GET", "/mixed").body == wanted
    assert wait_notes(server, "close", 2) == ["close RuntimeError"] * 2


@pytest.mark.parametrize("method, status", [("HEAD", "200 OK"), ("GET", "204 None"), ("GET", "304 Same")])
def test_nothing_is_waited_for_where_no_body_is_due(nginx, method, status):
    server = serve(nginx, """
        def at_none(environ, start_response):
            write = start_response(environ["QUERY_STRING"].replace("+", " "), [])
            for _ in range(10):
                write(b"forbidden")
            note("written")
            return []
        """)
    client = server.connect()
    for _ in range(3):
        assert client.request(method, "/none?" + status.replace(" ", "+")).status == int(status[:3])
    wait_notes(server, "written", 3)


def test_two_threads_of_one_application_write_at_once(nginx):
    server = serve(nginx, APP, threads=4, h2c=True)
    h2 = server.h2()
    streams = [h2.send_request("GET", "/big?8000,100") for _ in range(2)]
    clients = [server.connect() for _ in range(2)]
    for client in clients:
        client.send_request("GET", "/big?8000,100")
    h2.finish(*streams)
    assert all(bytes(stream.body) == blocks(8000, 100) for stream in streams)
    assert all(client.read_response().body == blocks(8000, 100) for client in clients)


def test_write_from_a_thread_of_the_application(nginx):
    """Not what the PEP has in mind, and no reason to crash."""
    server = serve(nginx, """
        def at_other(environ, start_response):
            write = start_response("200 OK", PLAIN)
            result = []
            def work():
                result.append(raised(write, b"x" * 1000))
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            note("other", *result)
            return [b"end"]
        """)
    answer = server.get("/other")
    (note,) = wait_notes(server, "other")
    assert answer.body in (b"end", b"x" * 1000 + b"end")
    assert note.endswith("None") == (answer.body != b"end")
