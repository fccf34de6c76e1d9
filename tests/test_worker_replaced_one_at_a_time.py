"""Workers that are replaced, for whatever reason, go one after the other, and no request fails."""

import collections
import contextlib
import os
import re
import signal
import textwrap
import threading
import time

import pytest

from harness.apps import serve, touch
from harness.edits import replace
from harness.load import Load
from harness.nginx import alive, children, free_port, title, wait_for

pytestmark = pytest.mark.once

APP = """
KEPT = []


def at_pid(environ, start_response):
    length = len(environ["wsgi.input"].read())
    return answer(start_response, [os.getpid(), length])


def at_grow(environ, start_response):
    KEPT.append(bytearray(os.urandom(1 << 20)))
    return answer(start_response, [os.getpid(), 0])


def at_stream(environ, start_response):
    start_response("200 OK", PLAIN)
    return (b"x" * 20000 for _ in range(20))


def at_large(environ, start_response):
    start_response("200 OK", [*PLAIN, ("X-Pid", str(os.getpid()))])
    return [b"x" * (1 << 20)] * 30
"""
SERVER = "location / { wsgi_pass app.py; }"
QUITS = r"\[notice\].*wsgi: .* quits gracefully to be replaced"


class Client(Load):
    """A client of APP."""

    def __init__(self, *args):
        super().__init__(*args)
        self.pids = set()

    def check(self, answer, begun):
        if self.target == "/stream":
            assert len(answer.body) == 400000
        else:
            pid, length = answer.json()
            assert length == len(self.body or b"")
            self.pids.add(pid)


class Watch(threading.Thread):
    """Looks at the processes again and again: how many serve, how many quit."""

    def __init__(self, server, stop, workers):
        super().__init__(daemon=True)
        self.server, self.stop, self.workers = server, stop, workers
        self.bad, self.looks, self.seen = [], 0, collections.Counter()

    def look(self):
        titles = collections.Counter(title(pid) for pid in children(self.server.pid))
        return titles["nginx: worker process"], titles["nginx: worker process is shutting down"]

    def run(self):
        while not self.stop.is_set():
            serving, quitting = self.look()
            self.looks += 1
            self.seen[serving, quitting] += 1
            if serving < self.workers - 1 or quitting > 1:
                # One look is no moment but a few milliseconds. What is wrong stays so for longer, since a worker
                # needs more than that to start.
                again = self.look()
                if again[0] < self.workers - 1 or again[1] > 1:
                    self.bad.append((serving, quitting, again))


@contextlib.contextmanager
def load(server, workers, targets=("/pid", "/pid", "/stream")):
    """Clients while the block runs: of each target one with and one without keep-alive, and one that posts."""
    stop = threading.Event()
    clients = [Client(server, stop, keep_alive, target) for target in targets for keep_alive in (True, False)]
    clients.append(Client(server, stop, False, "/pid", b"y" * 30000))
    watch = Watch(server, stop, workers)
    for thread in [*clients, watch]:
        thread.start()
    try:
        yield clients, watch
    finally:
        stop.set()
        for thread in [*clients, watch]:
            thread.join(30)
    assert [client.failures for client in clients] == [[]] * len(clients)
    assert not watch.bad, watch.bad
    assert watch.looks > 20


def quits(server):
    return len(server.log_lines(QUITS))


HTTP = "keepalive_requests 1000000; wsgi_block_warning off; access_log off; "


@pytest.mark.slow
@pytest.mark.parametrize("threads", [0, 3])
def test_max_requests_under_load(nginx, threads):
    server = serve(nginx, APP, "wsgi_threads %d; %s" % (threads, SERVER), workers=3, connections=1024,
                   http=HTTP + "wsgi_max_requests 100 jitter=50;")
    with load(server, 3) as (clients, watch):
        wait_for(lambda: quits(server) >= 15 or any(client.failures for client in clients), "15 workers replaced", 60)
    assert len(set.union(*(client.pids for client in clients))) >= 15
    assert watch.seen[2, 0] + watch.seen[2, 1] > 0, "it has been seen"
    wait_for(lambda: len(server.workers()) == 3, "all are there")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [0, 3])
def test_max_memory_under_load(nginx, threads):
    server = serve(nginx, APP, "wsgi_threads %d; %s" % (threads, SERVER), workers=3, connections=1024,
                   http=HTTP + "wsgi_max_memory 80m;")
    with load(server, 3, ("/pid", "/grow")) as (clients, _):
        wait_for(lambda: quits(server) >= 6 or any(client.failures for client in clients), "6 workers replaced", 60)


@pytest.mark.slow
def test_edits_under_load(nginx, folder):
    """wsgi_reload_mechanism process: all workers want to go at once."""
    server = serve(nginx, APP, SERVER, workers=3, connections=1024,
                   http=HTTP + "wsgi_script_reloading on; wsgi_reload_mechanism process;")
    text = (folder / "app.py").read_text()
    with load(server, 3) as (clients, _):
        for number in range(1, 4):
            replace(folder / "app.py", f"{text}\n# {number}\n")
            wait_for(lambda: quits(server) >= 3 * number or any(client.failures for client in clients),
                     lambda: f"3 more workers replaced\n{server.tail()}", 30)
            # One that starts now would have read the next edit.
            wait_for(lambda: len(server.workers()) == 3 == len(server.all_children()), "all are there", 30)


@pytest.mark.slow
def test_own_sockets_under_load(nginx):
    """`reuseport`: the master keeps the socket of a worker that quits, its connections wait for the next one."""
    port = free_port()
    server = serve(nginx, APP, SERVER, workers=2, connections=1024, http=HTTP + "wsgi_max_requests 50;", servers="""
        server { listen 127.0.0.1:%d reuseport backlog=511; location / { wsgi_pass app.py; } }
    """ % port)
    server.port = port
    with load(server, 2, ("/pid",)) as (clients, _):
        wait_for(lambda: quits(server) >= 8 or any(client.failures for client in clients), "8 workers replaced", 60)


@pytest.mark.slow
def test_reloads_and_replacements_under_load(nginx):
    server = serve(nginx, APP, SERVER, workers=2, connections=1024, http=HTTP + "wsgi_max_requests 60;")
    stop = threading.Event()
    clients = [Client(server, stop, keep_alive, "/pid") for keep_alive in (True, True, False, False)]
    for client in clients:
        client.start()
    try:
        for count in range(1, 6):
            server.signal("HUP")
            wait_for(lambda: quits(server) >= 4 * count or any(client.failures for client in clients),
                     lambda: f"replacements go on\n{server.tail()}", 30)
    finally:
        stop.set()
        for client in clients:
            client.join(30)
    assert [client.failures for client in clients] == [[]] * 4
    wait_for(lambda: len(server.workers()) == 2 == len(server.all_children()), "only the last two workers are left")


def slow_request(server):
    """A client that does not read; (client, head of the answer, pid)."""
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/large")
    head = client.read_head()
    return client, head, int(head.header("X-Pid"))


def connect_to(server, pid):
    """A connection to this worker, on which one request has been answered."""
    def found():
        client = server.connect()
        if client.request("GET", "/pid").json()[0] == pid:
            return client
        client.close()
        return None
    return wait_for(found, lambda: f"{pid} answers\n{server.tail()}", 20, step=0)


def ask(server, pid, number):
    """So many requests to this worker, and to no other one."""
    with connect_to(server, pid) as client:
        for _ in range(number - 1):
            answer = client.request("GET", "/pid")
            assert answer.json()[0] == pid
            if answer.header("Connection") == "close":
                break


def test_the_second_waits_for_the_successor_of_the_first(nginx):
    server = serve(nginx, APP, SERVER, workers=2, http="wsgi_max_requests 40;")
    old = server.workers()
    slow, head, first = slow_request(server)
    (second,) = set(old) - {first}
    ask(server, first, 40)
    server.wait_for_log(QUITS)
    # The first one cannot end, so the second one goes on beyond its number.
    ask(server, second, 100)
    assert second in server.workers() and alive(first)
    assert quits(server) == 1
    slow.read_body(head)
    assert len(head.body) == 30 << 20
    # No further request comes, and it goes all the same.
    wait_for(lambda: second not in server.workers(), "the second one is replaced")
    (_, line) = server.log_lines(QUITS)
    assert int(re.search(r"served (\d+)", line).group(1)) >= 100
    wait_for(lambda: len(set(server.workers()) - set(old)) == 2, "two new workers")


def test_a_killed_holder_does_not_keep_the_lock(nginx):
    server = serve(nginx, APP, SERVER, workers=2, http="wsgi_max_requests 40;", allow=[r"exited on signal 9"],
                   check_connections=False)
    old = server.workers()
    slow, _, first = slow_request(server)
    (second,) = set(old) - {first}
    ask(server, first, 40)
    server.wait_for_log(QUITS)
    ask(server, second, 100)
    assert second in server.workers()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not alive(second), lambda: f"the second one is replaced\n{server.tail()}")
    wait_for(lambda: len(server.workers()) == 2, "two new workers")
    slow.close()


def test_a_killed_worker_leaves_no_ghost(nginx):
    """Its successor has its place: the others can be replaced."""
    server = serve(nginx, APP, SERVER, workers=2, http="wsgi_max_requests 40;", allow=[r"exited on signal 9"])
    for _ in range(3):
        known = set(server.workers())
        os.kill(min(known), signal.SIGKILL)
        wait_for(lambda: set(server.workers()) - known, "another one")
    old = server.workers()
    for pid in old:
        ask(server, pid, 40)
    wait_for(lambda: not set(old) & set(server.workers()), lambda: f"both are replaced\n{server.tail()}")


def test_nobody_goes_while_another_one_starts(nginx):
    """A worker that was killed counts as well."""
    start = """
    while not there("may-start"):
        time.sleep(0.01)
    """
    # nginx counts the connections of the killed one for ever.
    server = serve(nginx, textwrap.dedent(start) + APP, SERVER, workers=2, http="wsgi_max_requests 5;", start=False,
                   allow=[r"exited on signal 9"], check_connections=False)
    touch(server, "may-start")
    server.start()
    killed, other = server.workers()
    (server.folder / "may-start").unlink()
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not alive(killed) and len(server.all_children()) == 2, "another one starts")
    ask(server, other, 20)
    time.sleep(0.3)
    assert server.workers() == [other] and quits(server) == 0
    touch(server, "may-start")
    server.wait_for_log(QUITS)
    wait_for(lambda: len(set(server.workers()) - {killed, other}) == 2, "all new")
