"""HTTP/2 clients that open and abandon, flood, and play with windows, while applications wait, run and send.

Whatever nginx does with such a connection, others are served, each application that began has ended, its close()
ran once, and nothing stays behind: no memory, no descriptor, no line that is more than nginx's own.
"""

import pytest

from harness import h2raw
from harness.apps import settled
from harness.h2raw import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS, RawH2, frame
from harness.nginx import rss, wait_for
from harness.waiting import serve

MIB = 1024 * 1024
APP = """
    import itertools

    numbers = itertools.count()

    class Watched:
        # Notes in memory: a file would be the slowest part of the test.
        living, begun, closed = set(), 0, 0

        def __init__(self, blocks):
            self.blocks = blocks
            self.number = next(numbers)
            Watched.living.add(self.number)
            Watched.begun += 1

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.blocks)

        def close(self):
            Watched.closed += 1
            Watched.living.remove(self.number)
            self.blocks.close()

    def at_suspended(environ, start_response):
        def blocks():
            environ["x-wsgiorg.suspend"](60_000)
            yield b""
            yield b"never"
        start_response("200 OK", PLAIN)
        return Watched(blocks())

    def at_polls(environ, start_response):
        def blocks():
            ends = socket.socketpair()
            try:
                yield environ["x-wsgiorg.fdevent.readable"](ends[0])
                yield b"never"
            finally:
                for end in ends:
                    end.close()
        start_response("200 OK", PLAIN)
        return Watched(blocks())

    def at_streams(environ, start_response):
        def blocks():
            while True:
                yield b"x" * 16384
        start_response("200 OK", PLAIN)
        return Watched(blocks())

    def at_runs(environ, start_response):
        def blocks():
            sum(range(2000))
            yield b"x"
        start_response("200 OK", PLAIN)
        return Watched(blocks())

    def at_reads(environ, start_response):
        def blocks():
            yield b"%d" % len(environ["wsgi.input"].read())
        start_response("200 OK", PLAIN)
        return Watched(blocks())

    def at_counts(environ, start_response):
        return answer(start_response, [Watched.begun, Watched.closed, len(Watched.living)])
    """
INLINE = "location / { wsgi_pass app.py; }"
# Streams that nobody reads take all four threads; what looks after them is of the same process and needs none.
THREADS = INLINE.replace("/ {", "~ hello|counts {") + "location / { wsgi_threads 4; wsgi_pass app.py; }"
# The limits are nginx's business; here as many as possible shall come through to the application.
MANY = "keepalive_requests 1000000; http2_max_concurrent_streams 1000;"
# What nginx says of a client at the level info, and of nothing else.
pytestmark = pytest.mark.inline_only
QUIET = r"\[(warn|error|crit|alert|emerg)\]"


def start(nginx, config=INLINE, **options):
    server = serve(nginx, APP, config, h2c=True, http=f"{MANY} wsgi_block_warning off;", **options)
    assert counts(server)[0] == 0
    return server


def counts(server):
    return server.get("/counts").json()


def nothing_runs(server):
    """Each application that has begun has been closed once; (begun)."""
    wait_for(lambda: counts(server)[2] == 0, lambda: f"all are closed: {counts(server)}\n{server.tail()}")
    begun, closed, _ = counts(server)
    assert begun == closed
    return begun


def rounds(server, attack, times=3):
    """Attacks several times; memory may grow with the first, and not with each."""
    begun = []
    for _ in range(times):
        attack()
        begun.append(nothing_runs(server))
        if len(begun) == 1:
            first = settled(lambda: rss(server.worker), quiet=0.1)
    assert settled(lambda: rss(server.worker), quiet=0.1) - first < 4 * MIB
    assert not server.log_lines(QUIET)
    return begun[-1]


def rapid(server, path, streams, each=50, begin=False):
    """HEADERS and RST_STREAM, so many of each, while another client is answered.

    With `begin` the applications of each batch have begun before they are given up.
    """
    client = RawH2(server)
    for at in range(0, streams, each):
        numbers = [2 * number + 1 for number in range(at, at + each)]
        before = counts(server)[0]
        client.send(*[h2raw.request(number, path) for number in numbers])
        if begin:
            wait_for(lambda before=before: counts(server)[0] > before, "one has begun")
        client.send(*[h2raw.reset(number) for number in numbers])
        assert server.get("/hello").body == b"hello"
        if client.over():
            break
    client.close()


@pytest.mark.parametrize("begin", [False, True], ids=["at once", "begun"])
@pytest.mark.parametrize("path", [b"/suspended", b"/polls", b"/streams", b"/runs"])
def test_rapid_reset(nginx, path, begin):
    server = start(nginx)
    begun = rounds(server, lambda: rapid(server, path, 1000, begin=begin))
    assert begun > 100 or not begin


@pytest.mark.parametrize("begin", [False, True], ids=["at once", "begun"])
@pytest.mark.parametrize("path", [b"/streams", b"/runs"])
def test_rapid_reset_in_threads(nginx, path, begin):
    """A request that is given up in the queue is never begun."""
    server = start(nginx, THREADS)
    begun = rounds(server, lambda: rapid(server, path, 1000, begin=begin))
    assert begun > 50 or not begin


@pytest.mark.parametrize("config", [INLINE, THREADS], ids=["inline", "threads"])
def test_connections_that_vanish_with_all_their_streams(nginx, config):
    """No RST_STREAM, no GOAWAY: the connection is gone."""
    server = start(nginx, config)

    def attack():
        for _ in range(10):
            client, before = RawH2(server), counts(server)[0]
            client.send(*[h2raw.request(2 * number + 1, b"/streams") for number in range(90)])
            wait_for(lambda before=before: counts(server)[0] > before, "one has begun")
            client.close()
    assert rounds(server, attack) > 10


def test_uploads_given_up(nginx):
    """Bodies that never come to their end are no requests for Python."""
    server = start(nginx)

    def attack():
        client = RawH2(server)
        for number in range(1, 601, 2):
            client.send(h2raw.request(number, b"/reads", END_HEADERS, method=b"POST"),
                        frame(DATA, 0, number, b"x" * 100), h2raw.reset(number))
        assert server.get("/hello").body == b"hello"
        client.close()
    assert rounds(server, attack) == 0


@pytest.mark.parametrize("more", ["fields", "long", "nothing"])
def test_continuation_flood(nginx, more):
    """Headers without an end. nginx gives up at its limits; a suspended stream beside it is closed then, once."""
    server = start(nginx)
    payload = {"fields": b"\x00" + h2raw.text(b"x-a") + h2raw.text(b"y" * 100),
               "long": b"\0\x7f\xff\xff\x7f" + b"x" * 100,
               "nothing": b""}[more]

    def attack():
        client, before = RawH2(server), counts(server)[0]
        client.send(h2raw.request(1, b"/suspended"))
        wait_for(lambda: counts(server)[0] > before, "the first has begun")
        client.send(frame(HEADERS, END_STREAM, 3, h2raw.fields(b"/runs")))
        for _ in range(40):
            if not client.send(*[frame(CONTINUATION, 0, 3, payload)] * 500):
                break
            assert server.get("/hello").body == b"hello"
        # The stream with the headers has never begun.
        assert counts(server)[0] == before + 1
        client.close()
    assert rounds(server, attack) == 3


@pytest.mark.parametrize("kind", ["SETTINGS", "PING", "empty DATA", "PRIORITY", "unknown", "WINDOW_UPDATE"])
def test_floods_of_frames(nginx, kind):
    """Answers to them are never read. What waits and what sends beside them is closed once, with the connection."""
    server = start(nginx)
    flood = {
        "SETTINGS": frame(SETTINGS), "PING": frame(PING, payload=b"12345678"), "empty DATA": frame(DATA, 0, 3),
        "PRIORITY": frame(h2raw.PRIORITY, 0, 5, b"\0\0\0\1\x10"), "unknown": frame(77, 0, 0, b"x" * 20),
        "WINDOW_UPDATE": h2raw.window(0, 1),
    }[kind]

    def attack():
        client, before = RawH2(server), counts(server)[0]
        client.send(h2raw.request(1, b"/suspended"), h2raw.request(3, b"/reads", END_HEADERS, method=b"POST"),
                    h2raw.request(5, b"/streams"))
        wait_for(lambda: counts(server)[0] == before + 2, "two have begun")
        for _ in range(20):
            if not client.send(flood * 1000):
                break
            assert server.get("/hello").body == b"hello"
        client.close()
    assert rounds(server, attack) == 6


def given(client, stream):
    return sum(len(payload) for _, _, payload in client.came(DATA, stream))


@pytest.mark.parametrize("config", [INLINE, THREADS], ids=["inline", "threads"])
def test_windows_that_open_by_single_bytes(nginx, config):
    """Whatever is asked for comes, and no application is asked for more than one block ahead."""
    server = start(nginx, config)

    def attack():
        client = RawH2(server, window=0)
        client.send(*[h2raw.request(number, b"/streams") for number in (1, 3, 5)])
        wait_for(lambda: len(client.came(HEADERS)) == 3, "three heads")
        for size in range(1, 41):
            client.send(*[h2raw.window(number, 1) for number in (1, 3, 5)])
            wait_for(lambda size=size: all(given(client, number) == size for number in (1, 3, 5)), "a byte of each")
        assert server.get("/hello").body == b"hello"
        client.close()
    assert rounds(server, attack) == 9


def test_windows_opened_and_shut(nginx):
    """SETTINGS that change the window of all streams, to and fro."""
    server = start(nginx)

    def attack():
        client = RawH2(server, window=0)
        client.send(*[h2raw.request(2 * number + 1, b"/streams") for number in range(20)])
        for size in (100, 0, 65535, 1, 0, 2**31 - 1, 0):
            client.send(h2raw.settings(window=size), h2raw.window(0, 1000))
            assert server.get("/hello").body == b"hello"
        client.close()
    assert rounds(server, attack) == 60


@pytest.mark.parametrize("increments", [[0], [2**31 - 1] * 2], ids=["zero", "too large"])
@pytest.mark.parametrize("whole", [False, True], ids=["stream", "connection"])
def test_windows_that_no_number_holds(nginx, increments, whole):
    """FLOW_CONTROL_ERROR or PROTOCOL_ERROR, as nginx likes, and the application's close() runs."""
    server = start(nginx)

    def attack():
        client = RawH2(server)
        client.send(h2raw.request(1, b"/suspended"), h2raw.request(3, b"/streams"))
        wait_for(lambda: given(client, 3) > 0, "a block")
        client.send(*[h2raw.window(0 if whole else 3, increment) for increment in increments])
        wait_for(lambda: client.over() or client.goaway() is not None or client.came(h2raw.RST_STREAM, 3), "the end")
        assert server.get("/hello").body == b"hello"
        client.close()
    assert rounds(server, attack) == 6


RULES = {
    "data after the end": frame(DATA, 0, 1, b"x"), "end again": frame(DATA, END_STREAM, 1),
    "stream again": h2raw.request(1, b"/runs"), "even stream": h2raw.request(2, b"/runs"),
    "continuation": frame(CONTINUATION, END_HEADERS, 1), "settings of a stream": frame(SETTINGS, 0, 1),
    "push": frame(h2raw.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"), "short ping": frame(PING, payload=b"x"),
    "data of none": frame(DATA, 0, 0, b"x"), "rubbish": b"\xff" * 9, "HTTP/1": b"GET / HTTP/1.1\r\n\r\n",
    "frame size": h2raw.settings(frame=1), "window size": h2raw.settings(window=2**31), "reset of none": h2raw.reset(0),
    "reset of an idle one": h2raw.reset(99), "goaway": frame(h2raw.GOAWAY, payload=bytes(8)),
    "table": frame(HEADERS, END_STREAM | END_HEADERS, 7, b"\xff\xff\xff\xff\xff"),
    "no path": frame(HEADERS, END_STREAM | END_HEADERS, 7, b"\x82\x86"),
}


def test_frames_that_break_the_rules(nginx):
    """Beside a stream that is suspended and one that sends."""
    server = start(nginx)
    for number, (name, broken) in enumerate(RULES.items()):
        client = RawH2(server)
        client.send(h2raw.request(1, b"/suspended"), h2raw.request(5, b"/streams"))
        wait_for(lambda client=client: given(client, 5) > 0, "a block")
        client.send(broken)
        assert server.get("/hello").body == b"hello"
        assert counts(server)[0] == 2 * number + 2, name
        client.close()
        assert nothing_runs(server) == 2 * number + 2, name
    assert not server.log_lines(QUIET)
