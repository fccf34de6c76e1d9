"""Requests that alternate among ten sub-interpreters leave nothing behind in any of them.

WSGI_LEAK_REQUESTS sets the number of requests of a round: 2,000 unless told otherwise.
"""

import os
import textwrap

import pytest

from harness.apps import PRELUDE
from harness.nginx import open_fds, rss, wait_for

pytestmark = pytest.mark.once

REQUESTS = int(os.environ.get("WSGI_LEAK_REQUESTS", "2000"))
ROUNDS = 4
COUNT = 10
MIB = 1024 ** 2
APP = PRELUDE + textwrap.dedent('''
import gc
import threading


def at_list(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Query", environ["QUERY_STRING"])])
    return [b"one", b"two"]


def at_generator(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"first"
    yield b""
    yield b"second" * 3000


def at_post(environ, start_response):
    return answer(start_response, len(environ["wsgi.input"].read()))


def at_write(environ, start_response):
    start_response("200 OK", PLAIN)(b"written")
    return []


def at_file(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def at_error(environ, start_response):
    raise ValueError("planned")


def at_input(environ, start_response):
    """Keeps its request in a cycle, which only the collector ends."""
    cycle = [environ, start_response]
    cycle.append(cycle)
    return answer(start_response, environ["wsgi.input"].readlines() == [])


def at_count(environ, start_response):
    for _ in range(3):
        gc.collect()
    return answer(start_response, [len(gc.get_objects()), threading.active_count(), len(sys.modules)])
''')
# What a round is made of; an exception costs the log two lines, so there are fewer.
MIX = [("GET", "list"), ("GET", "generator"), ("HEAD", "list"), ("POST", "post"), ("GET", "write"), ("GET", "file"),
       ("GET", "input"), ("GET", "list?x=1"), ("HEAD", "generator"), ("GET", "error")]


def ask(server, client, number):
    """Request `number` of a round: the interpreter changes each time, the kind with every full turn."""
    method, what = MIX[number // COUNT % len(MIX)]
    target = f"/{number % COUNT}/{what}"
    if what == "error":
        # nginx closes the connection after a 500.
        assert server.get(target).status == 500
        return
    answer = client.request(method, target, body=b"x" * 3000 if method == "POST" else None)
    assert answer.status == 200, answer


def counts(client):
    return [client.request("GET", f"/{number}/count").json() for number in range(COUNT)]


@pytest.mark.slow
@pytest.mark.parametrize("sub", [True, False])
def test_objects_and_memory_are_flat(nginx, sub):
    """With `sub` false the same applications run in one interpreter: what grows there as well is another matter."""
    server = nginx("\n".join(f"location /{number}/ {{ wsgi_pass app{number}.py; }}" for number in range(COUNT)),
                   http=f"keepalive_requests 100000000; wsgi_block_warning off; access_log off;"
                   f"wsgi_enable_subinterpreters {'on' if sub else 'off'};",
                   apps={f"app{number}.py": APP for number in range(COUNT)}, level="crit")
    worker = server.worker
    seen, memory = [], []
    with server.connect(timeout=60) as client:
        for number in range(COUNT * len(MIX) * 5):
            ask(server, client, number)
        counts(client)
        for _ in range(ROUNDS):
            for number in range(REQUESTS):
                ask(server, client, number)
            seen.append(counts(client))
            memory.append(rss(worker))
        fds = len(open_fds(worker))
    assert server.worker == worker
    for number in range(COUNT):
        objects = [each[number][0] for each in seen]
        assert objects[-1] - objects[0] <= 5, f"objects in interpreter {number}, round by round: {objects}"
        assert len({tuple(each[number][1:]) for each in seen}) == 1, "threads and modules"
    assert memory[-1] - memory[0] < MIB, f"memory round by round: {memory}"
    assert fds - len(server.baseline[worker]) <= 1, open_fds(worker)


@pytest.mark.slow
def test_clients_that_leave_and_workers_that_end(nginx):
    """Requests given up in the middle, in each interpreter; then a reload, whose old worker ends by itself."""
    server = nginx("\n".join(f"location /{number}/ {{ wsgi_pass app{number}.py; }}" for number in range(COUNT)),
                   http="wsgi_enable_subinterpreters on; access_log off;",
                   apps={f"app{number}.py": APP + textwrap.dedent('''
    alive = set()

    class Big:
        def __init__(self):
            alive.add(self)
            self.closed = False

        def __iter__(self):
            return (b"x" * 100000 for _ in range(100))

        def close(self):
            alive.remove(self)

    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        return Big()

    def at_alive(environ, start_response):
        return answer(start_response, len(alive))
    ''') for number in range(COUNT)})

    def leave(rounds):
        for _ in range(rounds):
            clients = []
            for number in range(COUNT):
                client = server.connect(rcvbuf=4096)
                client.send_request("GET", f"/{number}/big")
                clients.append(client)
            for client in clients:
                client.read_head()
            for client in clients:
                client.reset()
                server.clients.remove(client)
        # A request after the last one that left, so that nginx has heard of all.
        with server.connect() as client:
            wait_for(lambda: not any(client.request("GET", f"/{number}/alive").json() for number in range(COUNT)),
                     "every body is closed")
            return [objects for objects, _, _ in counts(client)]
    leave(2)
    first, second = leave(10), leave(30)
    growth = [after - before for before, after in zip(first, second)]
    assert max(growth) <= 5, growth
    old = server.worker
    server.hup()
    assert server.worker != old
