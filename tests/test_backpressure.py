"""Back-pressure is real: the application is never asked for more than the kernel took, and memory stays flat."""

import time

import pytest

from harness.apps import in_kernel, notes, serve, settled, wait_notes
from harness.http import Connection
from harness.nginx import free_port, rss

GIB = 1024 ** 3
MIB = 1024 ** 2
STREAM = f"""
    BLOCK = b"\\xa5" * 65536

    def at_gib(environ, start_response):
        start_response("200 OK", PLAIN)
        for number in range({GIB} // 65536):
            if number < 200 or number == {GIB} // 65536 - 1:
                note("asked", number)
            yield BLOCK

    def at_blocks(environ, start_response):
        size, count = map(int, environ["QUERY_STRING"].split(","))
        start_response("200 OK", PLAIN)
        def blocks():
            for number in range(count):
                note("asked", number)
                yield (b"%08d" % number) * (size // 8)
        return blocks()

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")

    def at_upload(environ, start_response):
        stream, total, different = environ["wsgi.input"], 0, 0
        for block in iter(lambda: stream.read(65536), b""):
            total += len(block)
            different += block.count(0) != len(block)
        return answer(start_response, [total, different])
    """


def drain(sock):
    """Reads to the end at full speed, keeps nothing but the number of bytes."""
    buffer, total = bytearray(1 << 20), 0
    while True:
        size = sock.recv_into(buffer)
        if not size:
            return total
        total += size


@pytest.mark.parametrize("size, count", [(8, 2_000_000), (1024, 30000), (65536, 400), (10_000_000, 4)])
def test_a_client_that_does_not_read_stops_the_application(nginx, size, count):
    server = serve(nginx, STREAM if size > 8 else STREAM.replace('note("asked", number)', "pass"))
    client = server.connect(rcvbuf=4096)
    if size == 8:
        # Too many to note each one: the next request answers how far the application is.
        client.send_request("GET", f"/blocks?{size},{count}")
        client.read_head()
        held = settled(lambda: in_kernel(client))
        assert 0 < held < size * count
        assert server.get("/hello").body == b"hello"
        return
    client.send_request("GET", f"/blocks?{size},{count}")
    wait_notes(server, "asked")
    asked = settled(lambda: len(notes(server, "asked")))
    assert asked < count or size == 10_000_000
    overhead = 400 + asked * 16
    held = in_kernel(client)
    assert (asked - 1) * size <= held, "blocks were asked for that the kernel did not have yet"
    assert held <= asked * size + overhead
    assert server.get("/hello").body == b"hello"
    answer = client.read_response()
    assert answer.complete and len(answer.body) == size * count
    assert answer.body == b"".join((b"%08d" % number) * (size // 8) for number in range(count))


def test_reading_a_little_asks_for_a_little_more(nginx):
    size, count = 65536, 500
    server = serve(nginx, STREAM)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", f"/blocks?{size},{count}")
    wait_notes(server, "asked")
    first = settled(lambda: len(notes(server, "asked")))
    received = len(client.sock.recv(4096))
    while received < 40 * size:
        received += len(client.sock.recv(65536))
    second = settled(lambda: len(notes(server, "asked")))
    assert first < second < count
    assert (second - 1) * size <= in_kernel(client) + received
    client.reset()


def test_http_2_windows_stop_the_application(nginx):
    size = 65536
    server = serve(nginx, STREAM, h2c=True)
    client = server.h2(hold=True)
    stream = client.send_request("GET", f"/blocks?{size},100")
    client.wait(lambda: len(stream.body) >= 65535, "a full window")
    client.quiet()
    asked = settled(lambda: len(notes(server, "asked")))
    # One block in the window, its last byte outside: nothing more may be asked for before that byte is sent.
    assert asked <= 2
    client.hold = False
    client.release()
    client.finish(stream)
    assert stream.complete and len(stream.body) == 100 * size


def test_tls_stops_the_application(nginx):
    size = 65536
    server = serve(nginx, STREAM, tls=True)
    client = server.connect(tls=True, rcvbuf=4096)
    client.send_request("GET", f"/blocks?{size},500")
    wait_notes(server, "asked")
    asked = settled(lambda: len(notes(server, "asked")))
    assert asked < 500
    assert (asked - 1) * size <= in_kernel(client)
    answer = client.read_response()
    assert answer.complete and len(answer.body) == 500 * size


def test_send_timeout_counts_only_while_nothing_moves(nginx):
    # A small send buffer, because the kernel calls a socket writable only when a good part of it is free.
    port = free_port()
    server = serve(nginx, STREAM, servers=f"""
        server {{ listen 127.0.0.1:{port} sndbuf=16k; send_timeout 400ms; location / {{ wsgi_pass app.py; }} }}""")
    with Connection(("127.0.0.1", port), rcvbuf=8192) as client:
        client.send_request("GET", "/blocks?65536,10000")
        begin, received = time.monotonic(), 0
        # Every read opens the window a little; in all it takes much longer than one timeout.
        while time.monotonic() - begin < 1.2:
            data = client.sock.recv(16384)
            assert data, f"closed after {received} bytes: {server.tail()}"
            received += len(data)
            time.sleep(0.01)
        assert received < 10000 * 65536
        client.reset()


@pytest.mark.slow
def test_a_generated_gib_leaves_memory_flat(nginx):
    server = serve(nginx, STREAM)
    assert server.get("/hello").body == b"hello"
    client = server.connect(rcvbuf=65536)
    before = rss(server.worker)
    client.send_request("GET", "/gib", version="1.0")
    wait_notes(server, "asked")
    asked = settled(lambda: len(notes(server, "asked")))
    assert asked < 200 and (asked - 1) * 65536 <= in_kernel(client)
    client.read_head()
    received = len(client.buffer)
    peak = rss(server.worker)
    client.sock.settimeout(60)
    buffer = bytearray(1 << 20)
    reads = 0
    while size := client.sock.recv_into(buffer):
        received += size
        reads += 1
        if reads % 200 == 0:
            peak = max(peak, rss(server.worker))
    assert received == GIB
    assert max(peak, rss(server.worker)) - before < 8 * MIB


@pytest.mark.slow
def test_an_uploaded_gib_leaves_memory_flat(nginx):
    server = serve(nginx, STREAM, "client_max_body_size 0; location / { wsgi_pass app.py; }",
                   http="wsgi_block_warning off;")
    assert server.post("/upload", b"\0" * MIB).json() == [MIB, 0]
    before = rss(server.worker)
    client = server.connect()
    client.sock.settimeout(60)
    client.send(f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n".encode())
    block, peak = bytes(1 << 20), 0
    for number in range(1024):
        client.send(block)
        if number % 64 == 0:
            peak = max(peak, rss(server.worker))
    assert client.read_response().json() == [GIB, 0]
    assert max(peak, rss(server.worker)) - before < 8 * MIB


def test_a_long_stream_of_small_blocks_leaves_memory_flat(nginx):
    server = serve(nginx, STREAM.replace('note("asked", number)', "pass"))
    client = server.connect()
    client.request("GET", "/blocks?8,10000")
    before = rss(server.worker)
    client.send_request("GET", "/blocks?8,100000", version="1.0")
    client.read_head()
    total = len(client.buffer) + drain(client.sock)
    assert total == 800_000
    assert rss(server.worker) - before < 4 * MIB
