"""Streams from threads: at most one block ahead of the kernel, and a slow reader keeps nobody but its thread."""

import pytest

from harness.apps import in_kernel, notes, settled, touch, wait_notes
from harness.nginx import rss
from harness.threads import ask, serve

MIB = 1024 * 1024
APP = """
    def at_blocks(environ, start_response):
        size, count = map(int, environ["QUERY_STRING"].split(","))
        start_response("200 OK", PLAIN)
        def blocks():
            for number in range(count):
                note("made", number)
                yield (b"%08d" % number) * (size // 8)
            note("end")
        return blocks()

    def at_list(environ, start_response):
        size, count = map(int, environ["QUERY_STRING"].split(","))
        start_response("200 OK", PLAIN)
        return [(b"%08d" % number) * (size // 8) for number in range(count)]

    def at_steps(environ, start_response):
        start_response("200 OK", PLAIN)
        for number in range(3):
            yield b"step %d" % number
            block_until_there(f"go{number}")
    """


def blocks(size, count):
    return b"".join((b"%08d" % number) * (size // 8) for number in range(count))


@pytest.mark.parametrize("size, count", [(1024, 20000), (65536, 300), (8_000_000, 5)])
@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_does_not_read_stops_the_application(nginx, size, count, tls):
    server = serve(nginx, APP, tls=True)
    client = server.connect(tls=tls, rcvbuf=4096)
    client.send_request("GET", f"/blocks?{size},{count}")
    wait_notes(server, "made")
    made = settled(lambda: len(notes(server, "made")))
    assert made < count
    # One is on its way, and one may be ready behind it.
    assert (made - 2) * size <= in_kernel(client)
    assert server.get("/hello").body == b"hello"
    answer = client.read_response()
    assert answer.complete and answer.body == blocks(size, count)


@pytest.mark.parametrize("tls", [False, True])
def test_http_2_windows_stop_the_application(nginx, tls):
    server = serve(nginx, APP, tls=True, h2c=True)
    client = server.h2(tls=tls, hold=True)
    stream = client.send_request("GET", "/blocks?16384,100")
    client.wait(lambda: len(stream.body) >= 65535, "a full window")
    client.quiet(0.1)
    assert settled(lambda: len(notes(server, "made"))) <= 5
    # Other streams of the connection go on.
    client.h2.increment_flow_control_window(1_000_000)
    client.flush()
    assert client.request("GET", "/hello").body == b"hello"
    client.hold = False
    client.release()
    client.finish(stream)
    assert stream.complete and bytes(stream.body) == blocks(16384, 100)


@pytest.mark.parametrize("how", ["1.1", "1.0", "tls", "h2"])
def test_each_block_is_there_before_the_next_is_made(nginx, how):
    server = serve(nginx, APP, tls=True, h2c=True)
    if how == "h2":
        client = server.h2()
        stream = client.send_request("GET", "/steps")
        for number in range(3):
            wanted = b"".join(b"step %d" % each for each in range(number + 1))
            client.wait(lambda: stream.body == wanted, wanted)
            touch(server, f"go{number}")
        client.finish(stream)
        assert stream.complete
        return
    client = server.connect(tls=how == "tls")
    client.send_request("GET", "/steps", version="1.0" if how == "1.0" else "1.1")
    head = client.read_head()
    for number in range(3):
        wanted = b"step %d" % number
        assert (client.read_exactly(6) if how == "1.0" else client.read_chunk(head)) == wanted
        touch(server, f"go{number}")
    assert (client.read_rest() if how == "1.0" else client.read_chunk(head)) == b""


def test_slow_readers_hold_only_their_threads(nginx):
    server = serve(nginx, APP, threads=3)
    slow = [server.connect(rcvbuf=4096) for _ in range(3)]
    for client in slow[:2]:
        client.send_request("GET", "/blocks?65536,200")
    wait_notes(server, "made 0", 2)
    settled(lambda: len(notes(server, "made")))
    for number in range(20):
        assert server.get(f"/hello?{number}").body == b"hello"
    assert notes(server, "end") == []
    # A third takes the last thread.
    slow[2].send_request("GET", "/blocks?65536,200")
    wait_notes(server, "made 0", 3)
    settled(lambda: len(notes(server, "made")))
    waits = ask(server, "/hello?waits")
    assert server.get("/ok").body == b"ok"
    assert notes(server, "hello waits") == []
    slow[0].reset()
    assert waits.read_response().body == b"hello"
    for client in slow[1:]:
        assert client.read_response().body == blocks(65536, 200)


def test_a_large_list_holds_its_thread_until_it_is_with_the_kernel(nginx):
    server = serve(nginx, APP, threads=1)
    slow = server.connect(rcvbuf=4096)
    slow.send_request("GET", "/list?1000000,20")
    slow.read_head()
    settled(lambda: in_kernel(slow))
    waits = ask(server, "/hello")
    assert settled(lambda: notes(server, "hello")) == []
    assert len(slow.read_exactly(10_000_000)) == 10_000_000
    slow.reset()
    assert waits.read_response().body == b"hello"


@pytest.mark.parametrize("size, count", [(8, 3), (8, 20_000), (1000, 60), (1000, 70), (65536, 1), (65544, 1),
                                         (32768, 2), (32768, 3), (8_000_000, 2), (8, 0)])
@pytest.mark.parametrize("how", ["1.1", "h2"])
def test_lists_of_all_sizes(nginx, size, count, how):
    server = serve(nginx, APP, h2c=True)
    client = server.h2() if how == "h2" else server.connect()
    for _ in range(3):
        assert bytes(client.request("GET", f"/list?{size},{count}").body) == blocks(size, count)


def test_many_streams_at_once_are_whole(nginx):
    server = serve(nginx, APP, threads=8, h2c=True, tls=True)
    clients = [server.h2(tls=number % 2 == 0) for number in range(4)]
    streams = [(client, client.send_request("GET", f"/{kind}?{size},{1_000_000 // size}"), size)
               for size in (1000, 8000, 100_000) for kind in ("blocks", "list") for client in clients]
    for client, stream, size in streams:
        client.finish(stream)
        assert stream.complete and bytes(stream.body) == blocks(size, 1_000_000 // size)


def test_a_long_stream_leaves_memory_flat(nginx):
    server = serve(nginx, APP.replace('note("made", number)', "pass"))
    client = server.connect()
    client.request("GET", "/blocks?65536,16")
    before = rss(server.worker)
    client.send_request("GET", "/blocks?65536,2000", version="1.0")
    client.read_head()
    total, buffer = len(client.buffer), bytearray(1 << 20)
    while size := client.sock.recv_into(buffer):
        total += size
    assert total == 2000 * 65536
    assert rss(server.worker) - before < 8 * MIB


def test_many_tiny_blocks(nginx):
    server = serve(nginx, """
        def at_tiny(environ, start_response):
            start_response("200 OK", PLAIN)
            for number in range(20_000):
                yield b"%d" % (number % 10)
        """)
    wanted = b"".join(b"%d" % (number % 10) for number in range(20_000))
    clients = [server.connect() for _ in range(2)]
    for client in clients:
        client.send_request("GET", "/tiny")
    for client in clients:
        assert client.read_response().body == wanted


@pytest.mark.parametrize("tls", [False, True])
def test_send_timeout_frees_the_thread(nginx, tls):
    server = serve(nginx, APP, threads=1, http="send_timeout 200ms;", tls=True)
    client = server.connect(tls=tls, rcvbuf=4096)
    client.send_request("GET", "/blocks?65536,1000")
    client.read_head()
    assert server.get("/hello").body == b"hello"
    assert notes(server, "end") == []
    client.reset()
