"""Clients that send or read as slowly as they can: others are served meanwhile, nginx's timeouts end them, and nothing
of them stays behind. Python hears of a request when nginx has it whole, and has an end whatever becomes of the client.
"""

import time

import pytest

from harness.apps import notes, serve, settled, wait_notes
from harness.nginx import SLOW, rss, wait_for

MIB = 1024 * 1024
# Long enough for a machine that is busy to answer others in between, and short enough to wait for.
MS = int(400 * SLOW)
TIMEOUTS = "".join(f"{name} {MS}ms;" for name in (
    "client_header_timeout", "client_body_timeout", "send_timeout", "keepalive_timeout", "lingering_time",
    "lingering_timeout"))
APP = """
    PAGE = b"x" * 8_000_000

    def at_held(environ, start_response):
        # How often somebody has hold of the page, this function and the module included.
        return answer(start_response, sys.getrefcount(PAGE))

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")

    def at_read(environ, start_response):
        note("called")
        try:
            size = len(environ["wsgi.input"].read())
        finally:
            note("ended")
        return answer(start_response, size)

    def at_stream(environ, start_response):
        note("called")
        start_response("200 OK", PLAIN)
        return Body(*[b"x" * 65536] * 1000, name="stream")

    def at_page(environ, start_response):
        note("called")
        start_response("200 OK", PLAIN + [("Content-Length", "8000000")])
        return Body(PAGE, name="page")

    def at_list(environ, start_response):
        note("called")
        class Page(list):
            def close(self):
                note("close list")
        start_response("200 OK", PLAIN)
        return Page([b"x" * 100000] * 200)

    def at_file(environ, start_response):
        note("called")
        class File:
            def __init__(self):
                self.file = open(os.path.join(HERE, "large"), "rb")
            def fileno(self):
                return self.file.fileno()
            def read(self, size):
                return self.file.read(size)
            def close(self):
                self.file.close()
                note("close file")
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](File())
    """
CONFIGS = {"inline": "location / { wsgi_pass app.py; }",
           "threads": "location / { wsgi_threads 8; wsgi_pass app.py; }"}
pytestmark = pytest.mark.once
BOTH = pytest.mark.parametrize("config", [
    pytest.param(CONFIGS["inline"], marks=pytest.mark.inline_only, id="inline"),
    pytest.param(CONFIGS["threads"], id="threads")])


def start(nginx, config, **options):
    server = serve(nginx, APP, config, http=TIMEOUTS, connections=1024, level="warn", **options)
    with open(server.folder / "large", "wb") as file:
        file.truncate(20_000_000)
    assert server.get("/hello").body == b"hello"
    return server


def served(server):
    """Others get their answer long before any of the timeouts."""
    begin = time.monotonic()
    assert server.get("/hello").body == b"hello"
    return time.monotonic() - begin


def drip(server, clients, data, what):
    """All send their `data` byte by byte until nginx has had enough of each; how long others waited at most."""
    waited, living, at = 0.0, list(clients), 0

    def gone():
        nonlocal at, waited
        at += 1
        for client in list(living):
            try:
                client.send(data[at % len(data):at % len(data) + 1])
            except ConnectionError:
                living.remove(client)
        waited = max(waited, served(server))
        return not living
    wait_for(gone, what, timeout=20, step=0.02)
    return waited


@BOTH
def test_headers(nginx, config):
    """The time counts for all of them together: a byte now and then does not make it longer."""
    server = start(nginx, config)
    clients = [server.connect() for _ in range(100)]
    for number, client in enumerate(clients):
        client.send([b"", b"GET", b"GET /read HTTP/1.1\r\n", b"GET /read HTTP/1.1\r\nHost: a\r\nX-"][number % 4])
    begin = time.monotonic()
    waited = drip(server, clients, b"abcdefgh", "all with slow headers are gone")
    assert waited < 5 * SLOW and time.monotonic() - begin > MS / 2000
    assert notes(server) == []
    wait_for(lambda: server.status()["active"] == 1, "no connection is left")


@BOTH
def test_bodies(nginx, config):
    """Each byte is worth another timeout, so it is the silent ones that end; and no application has begun."""
    server = start(nginx, config)
    silent, slow = [server.connect() for _ in range(60)], [server.connect() for _ in range(60)]
    for number, client in enumerate((*silent, *slow)):
        client.send((b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx",
                     b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                     b"POST /read HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 90000\r\n\r\n",
                     )[number % 3])
    def silent_are_gone():
        for client in slow:
            client.send(b"0")  # of a body, or before the size of a chunk
        assert served(server) < 5 * SLOW
        return server.status()["active"] - 1 == len(slow)
    wait_for(silent_are_gone, lambda: f"the silent ones are gone: {server.status()}", timeout=20, step=0.05)
    assert notes(server) == []
    for client in (*silent, *slow):
        client.close()
    wait_for(lambda: server.status()["active"] == 1, "no connection is left")
    assert notes(server) == []


def test_bodies_that_threads_wait_for(nginx):
    """Without buffering a slow client has a thread until nginx gives it up; then others have it."""
    server = start(nginx, """location / { wsgi_threads 2; wsgi_request_buffering off; wsgi_pass app.py; }
                             location = /ok { return 200 ok; }""")
    clients = [server.connect() for _ in range(10)]
    for client in clients:
        client.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
    wait_notes(server, "called", 2)
    assert server.get("/ok").body == b"ok"
    # All ten threads' worth of them, two at a time, and then this one.
    assert server.get("/hello").body == b"hello"
    called = len(wait_notes(server, "called"))
    wait_notes(server, "ended", called)
    wait_for(lambda: server.status()["active"] == 1, "no connection is left")
    assert len(notes(server, "called")) == len(notes(server, "ended"))


@BOTH
@pytest.mark.parametrize("how", ["stream", "page", "list", "file"])
def test_reading(nginx, config, how):
    """A client that does not read keeps what one answer needs, until send_timeout."""
    server = start(nginx, config)
    # With threads each holds one, so one has to be left for the others.
    count = 7 if "threads" in config else 20

    def attack():
        before = len(notes(server, "called"))
        clients = [server.connect(rcvbuf=4096) for _ in range(count)]
        for client in clients:
            client.send_request("GET", f"/{how}")
        wait_notes(server, "called", before + count)
        served(server)
        wait_notes(server, f"close {how}", before + count, timeout=20)
        wait_for(lambda: server.status()["active"] == 1, "no connection is left", timeout=20)
        for client in clients:
            client.close()
    held = server.get("/held").json()
    attack()
    first = settled(lambda: rss(server.worker))
    attack()
    wait_for(lambda: rss(server.worker) - first < 8 * MIB, lambda: f"{rss(server.worker) - first} bytes are given back")
    wait_for(lambda: server.get("/held").json() == held, "the page is not lent any more")
    assert len(notes(server, "close")) == len(notes(server, "called")) == 2 * count


@BOTH
def test_reading_a_little_at_a_time(nginx, config):
    """Each byte that is taken is worth another send_timeout; the application is asked no sooner for it."""
    server = start(nginx, config)
    clients = [server.connect(rcvbuf=4096) for _ in range(5)]
    for client in clients:
        client.send_request("GET", "/stream")
    wait_notes(server, "called", 5)
    for _ in range(30):
        for client in clients:
            assert client.sock.recv(100)
        assert served(server) < 5 * SLOW
    assert rss(server.worker) < 200 * MIB and notes(server, "close") == []
    for client in clients:
        client.reset()
    wait_notes(server, "close stream", 5)
    assert len(notes(server, "close")) == 5
