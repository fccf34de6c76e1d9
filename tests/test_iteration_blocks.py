"""Iteration: how blocks become chunks, when they go out, who else runs meanwhile."""

import threading

import pytest

from harness.apps import notes, serve, touch, wait_notes
from harness.nginx import wait_for


def test_blocks_of_every_size_arrive_whole(nginx):
    server = serve(nginx, """
        SIZES = [1, 2, 100, 1023, 1024, 1459, 1460, 1461, 4095, 4096, 4097, 16384, 32768, 65535, 65536, 65537,
                 200000, 1000000, 3]

        def blocks():
            for number, size in enumerate(SIZES):
                yield bytes([65 + number]) * size

        def at_stream(environ, start_response):
            start_response("200 OK", PLAIN)
            return blocks()

        def at_list(environ, start_response):
            start_response("200 OK", PLAIN)
            return list(blocks())
        """, tls=True, h2c=True)
    sizes = [1, 2, 100, 1023, 1024, 1459, 1460, 1461, 4095, 4096, 4097, 16384, 32768, 65535, 65536, 65537, 200000,
             1000000, 3]
    wanted = b"".join(bytes([65 + number]) * size for number, size in enumerate(sizes))
    client = server.connect()
    answer = client.request("GET", "/stream")
    assert answer.body == wanted
    # One block, one chunk.
    assert answer.chunks == sizes
    answer = client.request("GET", "/list")
    assert answer.body == wanted and answer.header("Content-Length") == str(len(wanted))
    with_http2 = server.h2()
    for target in ("/stream", "/list"):
        assert server.get(target, tls=True).body == wanted
        assert server.get(target, version="1.0").body == wanted
        assert with_http2.request("GET", target).body == wanted


def test_blocks_that_the_application_reuses_or_drops_are_not_disturbed(nginx):
    server = serve(nginx, """
        import gc

        SHARED = bytes(range(256)) * 1000

        def at_shared(environ, start_response):
            start_response("200 OK", PLAIN)
            for _ in range(20):
                yield SHARED

        def at_fresh(environ, start_response):
            start_response("200 OK", PLAIN)
            for number in range(40):
                block = bytes([number]) * 100000
                yield block
                del block
                # What is freed too early would be overwritten by these.
                noise = [bytes([255]) * 100000 for _ in range(5)]
                gc.collect()

        def at_slices(environ, start_response):
            start_response("200 OK", PLAIN)
            return [SHARED[at:at + 1000] for at in range(0, len(SHARED), 1000)] * 5

        def at_count(environ, start_response):
            return answer(start_response, sys.getrefcount(SHARED))
        """)
    client = server.connect()
    shared = bytes(range(256)) * 1000
    before = client.request("GET", "/count").json()
    for _ in range(3):
        slow = server.connect(rcvbuf=4096)
        slow.send_request("GET", "/shared")
        assert client.request("GET", "/fresh").body == b"".join(bytes([n]) * 100000 for n in range(40))
        assert client.request("GET", "/slices").body == shared * 5
        assert slow.read_response().body == shared * 20
        slow.close()
    # A client that leaves amid a block gives its references back as well.
    gone = server.connect(rcvbuf=4096)
    gone.send_request("GET", "/shared")
    gone.read_head()
    gone.reset()
    def released():
        return client.request("GET", "/count").json() == before
    wait_for(released, lambda: f"references: {client.request('GET', '/count').json()}, {before} before")


def test_each_block_is_flushed_before_the_next_is_asked_for(nginx):
    server = serve(nginx, """
        def at_steps(environ, start_response):
            start_response("200 OK", PLAIN)
            for number in range(5):
                yield b"%d" % number
                while not there("go%d" % number):
                    yield b""
        """, tls=True, h2c=True)

    def steps(read):
        for number in range(5):
            assert read() == b"%d" % number
            touch(server, f"go{number}")
        for number in range(5):
            (server.folder / f"go{number}").unlink()

    for tls in (False, True):
        client = server.connect(tls=tls)
        client.send_request("GET", "/steps")
        head = client.read_head()
        steps(lambda: client.read_chunk(head))
    client = server.connect()
    client.send_request("GET", "/steps", version="1.0")
    client.read_head()
    steps(lambda: client.read_exactly(1))
    with_http2 = server.h2()
    stream = with_http2.send_request("GET", "/steps")

    def frame():
        with_http2.wait(lambda: stream.body, "a frame")
        data, stream.body = bytes(stream.body), bytearray()
        return data
    steps(frame)


def test_a_list_goes_out_in_one_go(nginx):
    server = serve(nginx, """
        class Noting(list):
            def __iter__(self):
                note("iterated")
                return super().__iter__()

        def at_list(environ, start_response):
            start_response("200 OK", PLAIN)
            return [b"%d" % number for number in range(100)]

        def at_tuple(environ, start_response):
            start_response("200 OK", PLAIN)
            return (b"a", b"b")

        def at_many(environ, start_response):
            start_response("200 OK", PLAIN)
            return [b"x"] * 20000

        def at_sub(environ, start_response):
            start_response("200 OK", PLAIN)
            return Noting([b"a", b"b"])
        """)
    client = server.connect()
    answer = client.request("GET", "/list")
    wanted = b"".join(b"%d" % number for number in range(100))
    assert (answer.body, answer.all("Content-Length")) == (wanted, [str(len(wanted))])
    assert client.request("GET", "/tuple").header("Content-Length") == "2"
    answer = client.request("GET", "/many")
    assert (len(answer.body), answer.header("Content-Length")) == (20000, "20000")
    # A subclass may iterate in its own way, and that way counts.
    assert client.request("GET", "/sub").body == b"ab"
    wait_notes(server, "iterated")


@pytest.mark.parametrize("kind", ["empty", "full"])
def test_a_generator_that_never_blocks_lets_others_through(nginx, kind):
    server = serve(nginx, """
        def at_endless(environ, start_response):
            start_response("200 OK", PLAIN)
            block = b"" if environ["QUERY_STRING"] == "empty" else b"x" * 10000
            yield b"first"
            while not there("stop"):
                yield block

        def at_hello(environ, start_response):
            return answer(start_response, b"hello")
        """)
    client = server.connect()
    client.send_request("GET", "/endless?" + kind)
    head = client.read_head()
    assert client.read_chunk(head) == b"first"
    thread = threading.Thread(target=lambda: client.read_body(head))
    thread.start()
    try:
        other = server.connect()
        for _ in range(20):
            assert other.request("GET", "/hello").body == b"hello"
    finally:
        touch(server, "stop")
        thread.join()
    assert head.complete


def test_two_endless_generators_advance_side_by_side(nginx):
    server = serve(nginx, """
        def at_pair(environ, start_response):
            name = environ["QUERY_STRING"]
            start_response("200 OK", PLAIN)
            for number in range(5):
                note(name, number)
                while not there("a") if name == "b" else not there("b"):
                    yield b""
                yield b"%d" % number
        """)
    one, two = server.connect(), server.connect()
    one.send_request("GET", "/pair?a")
    wait_notes(server, "a 0")
    two.send_request("GET", "/pair?b")
    wait_notes(server, "b 0")
    touch(server, "a")
    assert two.read_response().body == b"01234"
    touch(server, "b")
    assert one.read_response().body == b"01234"


def test_every_request_has_a_context_of_its_own(nginx):
    server = serve(nginx, """
        import contextvars
        import decimal

        var = contextvars.ContextVar("var", default="unset")

        class Closing:
            def __init__(self, inner):
                self.inner = inner

            def __iter__(self):
                return self.inner

            def close(self):
                note("close", self.name, var.get())

        def at_set(environ, start_response):
            name = environ["QUERY_STRING"]
            before = var.get()
            var.set(name)
            decimal.getcontext().prec = len(name) + 3

            def blocks():
                start_response("200 OK", PLAIN)
                yield before.encode()
                for _ in range(5):
                    while not there(name + "-go"):
                        assert var.get() == name
                        yield b""
                    yield b"," + var.get().encode() + b"%d" % decimal.getcontext().prec
                    var.set(var.get())
            body = Closing(blocks())
            body.name = name
            return body

        def at_write(environ, start_response):
            var.set("write")
            start_response("200 OK", PLAIN)(b"x")
            return [var.get().encode()]

        def at_get(environ, start_response):
            return answer(start_response, var.get())
        """)
    clients = {}
    for name in ("one", "seventh"):
        clients[name] = server.connect()
        clients[name].send_request("GET", "/set?" + name)
    for client in clients.values():
        head = client.read_head()
        client.head = head
        assert client.read_chunk(head) == b"unset"
    assert server.get("/get").json() == "unset"
    touch(server, "one-go")
    touch(server, "seventh-go")
    for name, client in clients.items():
        client.read_body(client.head)
        assert client.head.body == b"unset" + b",%b%d" % (name.encode(), len(name) + 3) * 5
    assert server.get("/write").body == b"xwrite"
    assert server.get("/get").json() == "unset"
    wait_notes(server, "close", 2)
    assert sorted(notes(server)) == ["close one one", "close seventh seventh"]


def test_iterables_of_many_kinds(nginx):
    server = serve(nginx, """
        import collections
        import io
        import itertools

        class GetItem:
            def __getitem__(self, index):
                if index == 3:
                    raise IndexError
                return b"%d" % index

        class Reiterable:
            def __iter__(self):
                yield from (b"0", b"1", b"2")

        KINDS = {
            "set": lambda: {b"012"}, "dict": lambda: {b"0": 1, b"1": 2, b"2": 3},
            "map": lambda: map(lambda n: b"%d" % n, range(3)), "getitem": GetItem, "object": Reiterable,
            "deque": lambda: collections.deque([b"0", b"12"]), "bytesio": lambda: io.BytesIO(b"012"),
            "chain": lambda: itertools.chain([b"0"], (b"1",), iter([b"2"])),
            "file": lambda: open(os.path.join(HERE, "lines"), "rb"), "filter": lambda: filter(None, [b"", b"012"]),
        }

        def at_kind(environ, start_response):
            start_response("200 OK", PLAIN)
            return KINDS[environ["QUERY_STRING"]]()
        """)
    (server.folder / "lines").write_bytes(b"012")
    client = server.connect()
    for kind in ("set", "dict", "map", "getitem", "object", "deque", "bytesio", "chain", "file", "filter"):
        answer = client.request("GET", "/kind?" + kind)
        assert (answer.status, answer.body) == (200, b"012"), kind


def test_iter_that_fails_is_a_500_and_close_is_called(nginx):
    server = serve(nginx, """
        class Bad:
            def __iter__(self):
                raise ValueError("no iterator")

            def close(self):
                note("close")

        def at_bad(environ, start_response):
            start_response("200 OK", PLAIN)
            return Bad()
        """)
    assert server.get("/bad").status == 500
    server.wait_for_log("raised ValueError: no iterator")
    assert notes(server) == ["close"]


def test_stop_iteration_of_the_application_itself_is_an_error(nginx):
    server = serve(nginx, """
        def at_stop(environ, start_response):
            start_response("200 OK", PLAIN)
            raise StopIteration
        """)
    assert server.get("/stop").status == 500
    server.wait_for_log("raised StopIteration")
