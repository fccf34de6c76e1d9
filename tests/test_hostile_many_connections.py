"""A thousand connections that are held open at once, in each of the states in which a client can hold one.

WSGI_HOSTILE_CONNECTIONS=10000 makes it so many; see README.md.
"""

import os
import resource

import pytest

from harness.apps import settled
from harness.nginx import rss, wait_for
from harness.waiting import serve

COUNT = int(os.environ.get("WSGI_HOSTILE_CONNECTIONS", "1000"))
KIB = 1024
APP = """
    import threading

    # How many applications have begun, and how many of them are closed. Threads count too.
    count = {"begun": 0, "closed": 0}
    lock = threading.Lock()
    BLOCK = b"x" * 65536

    class Counted:
        def __init__(self, blocks):
            self.blocks = blocks
            with lock:
                count["begun"] += 1

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.blocks)

        def close(self):
            with lock:
                count["closed"] += 1
            self.blocks.close()

    def at_held(environ, start_response):
        def blocks():
            environ["x-wsgiorg.suspend"](600_000)
            yield b""
        start_response("200 OK", PLAIN)
        return Counted(blocks())

    def at_began(environ, start_response):
        def blocks():
            yield b"first"
            environ["x-wsgiorg.suspend"](600_000)
            yield b""
        start_response("200 OK", PLAIN)
        return Counted(blocks())

    def at_streams(environ, start_response):
        def blocks():
            while True:
                yield BLOCK
        start_response("200 OK", PLAIN)
        return Counted(blocks())

    def at_count(environ, start_response):
        return answer(start_response, count)
    """
pytestmark = pytest.mark.once
STATES = {
    "silent": b"",
    "kept alive": b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    "half a line": b"GET /hel",
    "half the headers": b"GET /hello HTTP/1.1\r\nHost: a\r\nX-A: ",
    "half a body": b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf",
    "suspended": b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n",
    "suspended after the head": b"GET /began HTTP/1.1\r\nHost: a\r\n\r\n",
    "not reading": b"GET /streams HTTP/1.1\r\nHost: a\r\n\r\n",
}
RUNNING = {"suspended", "suspended after the head", "not reading"}
LONG = "client_header_timeout 10m; client_body_timeout 10m; send_timeout 10m; keepalive_timeout 10m; " \
       "keepalive_requests 1000000; wsgi_block_warning off;"


@pytest.fixture(autouse=True)
def descriptors():
    """Of the client: one for each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = COUNT + 500
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"no more than {hard} descriptors are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def start(nginx, config):
    # When a sixteenth of its connections is left, nginx closes those that are kept alive.
    connections = COUNT * 5 // 4 + 500
    return serve(nginx, APP, config, http=LONG, connections=connections, level="warn",
                 main=f"worker_rlimit_nofile {connections + 500};")


def counted(server):
    return server.get("/count").json()


def hold(server, states, each):
    """So many connections in each of the states. No more at a time than the kernel queues for nginx to accept."""
    clients, others = [], server.status()["active"]
    for number in range(each * len(states)):
        state = list(states)[number % len(states)]
        clients.append(server.connect(rcvbuf=4096 if state == "not reading" else None))
        clients[-1].send(STATES[state])
        if len(clients) % 200 == 0:
            wait_for(lambda: server.status()["active"] == others + len(clients),
                     lambda: f"{others + len(clients)} are there: {server.status()}\n{server.tail(5)}")
    return clients


def let_go(server, clients):
    """Half of them end in order, half are reset."""
    for number, client in enumerate(clients):
        client.reset() if number % 2 else client.close()
    wait_for(lambda: server.status()["active"] == 1, lambda: f"no connection is left: {server.status()}", timeout=60)
    wait_for(lambda: counted(server)["begun"] == counted(server)["closed"], lambda: f"closed: {counted(server)}")


@pytest.mark.inline_only
def test_held_in_every_state(nginx):
    """Others are served, each costs little, and afterwards nothing is left."""
    server = start(nginx, "location / { wsgi_pass app.py; }")
    each = COUNT // len(STATES)
    before, sizes = rss(server.worker), []
    for turn in (1, 2, 3):
        clients = hold(server, STATES, each)
        running = each * len(RUNNING)
        wait_for(lambda turn=turn, running=running: counted(server)["begun"] == turn * running,
                 lambda: f"all run: {counted(server)}", timeout=60)
        assert server.status()["active"] == len(clients) + 1
        assert counted(server)["closed"] == (turn - 1) * running, "one is closed that is held"
        for _ in range(100):
            assert server.get("/hello").body == b"hello"
        # nginx's pools and buffers, and two small objects of Python; no stack of a thread, and no block.
        assert rss(server.worker) - before < len(clients) * 64 * KIB
        let_go(server, clients)
        assert counted(server) == {"begun": turn * running, "closed": turn * running}
        sizes.append(settled(lambda: rss(server.worker)))
    # The first turns make the heap as large as it has to be.
    assert sizes[2] - sizes[1] < COUNT * 4 * KIB, sizes
    assert not server.log_lines(r"\[(warn|error|crit|alert|emerg)\]")


def test_held_before_threads_hear_of_them(nginx):
    """What nginx is still reading takes no thread: four are enough for others."""
    server = start(nginx, "location / { wsgi_threads 4; wsgi_pass app.py; }")
    states = [state for state in STATES if state not in RUNNING]
    clients = hold(server, states, COUNT // len(states))
    wait_for(lambda: server.status()["active"] == len(clients) + 1, "all are accepted", timeout=60)
    for _ in range(100):
        assert server.get("/hello").body == b"hello"
    let_go(server, clients)
    assert counted(server) == {"begun": 0, "closed": 0}
    assert not server.log_lines(r"\[(warn|error|crit|alert|emerg)\]")


def test_held_in_the_queue_of_threads(nginx):
    """A thousand requests that wait for two threads which are held by clients who do not read."""
    server = start(nginx, f"""location / {{ wsgi_threads 2 queue={COUNT}; wsgi_pass app.py; }}
                              location = /ok {{ return 200 ok; }} location = /count {{ wsgi_pass app.py; }}""")
    clients = hold(server, ["not reading"], 2)
    wait_for(lambda: counted(server)["begun"] == 2, "both threads are taken")
    queued = hold(server, ["kept alive", "not reading"], COUNT // 2 - 10)
    wait_for(lambda: server.status()["writing"] == len(queued) + 3, lambda: f"all wait: {server.status()}", timeout=60)
    for _ in range(20):
        assert server.get("/ok").body == b"ok"
    assert counted(server) == {"begun": 2, "closed": 0}
    # Those in the queue leave first: nobody has begun with them.
    for number, client in enumerate(queued):
        client.reset() if number % 2 else client.close()
    wait_for(lambda: server.status()["active"] == 3, lambda: f"they are gone: {server.status()}", timeout=60)
    assert counted(server) == {"begun": 2, "closed": 0}
    let_go(server, clients)
    assert server.get("/hello").body == b"hello"
