"""wsgi_admission: a worker whose threads are all busy leaves new connections to one that has an idle thread."""

import contextlib
import os
import signal

import pytest

from harness.apps import serve, touch, wait_notes
from harness.http import Connection
from harness.nginx import free_port, wait_for

APP = """
def at_wait(environ, start_response):
    note("waits", os.getpid())
    block_until_there("go")
    return answer(start_response, os.getpid())


def at_pid(environ, start_response):
    return answer(start_response, os.getpid())
"""
# $pid is nginx's: the worker that has taken the connection, whatever its threads do.
SERVER = "location / { wsgi_threads 1; wsgi_pass app.py; } location /who { return 200 $pid; }"
HTTP = "wsgi_block_warning off; "


def site(nginx, server=SERVER, http="", **options):
    server = serve(nginx, APP, server, workers=options.pop("workers", 2), http=HTTP + http, **options)
    # A worker has room when it has imported the application.
    everybody(server, target="/pid")
    return server


@contextlib.contextmanager
def busy(server, number=1):
    """So many threads are busy while the block runs; the pids of their workers."""
    clients = []
    for count in range(1, number + 1):
        clients.append(server.connect())
        clients[-1].send_request("GET", "/wait")
        wait_notes(server, "waits", count)
    try:
        yield [int(line.split()[1]) for line in wait_notes(server, "waits", number)]
    finally:
        touch(server, "go")
        for client in clients:
            assert client.read_response().status == 200
            client.close()


def who(server, number=100, target="/who", port=None):
    """The workers that take so many connections, one after the other."""
    found = []
    for _ in range(number):
        with Connection(("127.0.0.1", port or server.port), timeout=20) as client:
            found.append(int(client.request("GET", target, [("Connection", "close")]).text))
    return found


def everybody(server, **more):
    """All workers take connections."""
    seen = set()

    def found():
        seen.update(who(server, 20, **more))
        return seen >= set(server.workers())
    wait_for(found, lambda: f"all of {server.workers()}, not {seen}")


def test_a_busy_worker_takes_nothing_while_another_one_has_a_thread(nginx):
    server = site(nginx)
    with busy(server) as (deaf,):
        (other,) = set(server.workers()) - {deaf}
        assert who(server, 200) == [other] * 200
        assert who(server, 200, "/pid") == [other] * 200
    # Its thread is idle again.
    everybody(server)


def test_all_threads_of_all_pools_count(nginx):
    """One idle thread is enough, whatever it is for."""
    server = site(nginx, SERVER + """
        location /two { wsgi_threads 1; wsgi_pass two.py; }
    """, apps={"two.py": "def application(environ, start_response):\n    raise SystemExit\n"})
    with busy(server):
        everybody(server)


def test_two_threads(nginx):
    server = site(nginx, SERVER.replace("wsgi_threads 1", "wsgi_threads 2"))
    with busy(server, 3) as pids:
        (deaf,) = {pid for pid in pids if pids.count(pid) == 2}
        (other,) = set(server.workers()) - {deaf}
        assert who(server) == [other] * 100


def test_nobody_is_deaf_when_all_are_busy(nginx):
    server = site(nginx)
    with busy(server, 2) as pids:
        assert len(set(pids)) == 2, "the second request went to the worker that had room"
        everybody(server)
        late = server.connect()
        late.send_request("GET", "/pid")
    assert late.read_response().status == 200
    late.close()
    everybody(server)


def test_one_becomes_idle_while_all_are_busy(nginx):
    """A worker that hears, because all are busy, becomes deaf when another one has room again."""
    server = site(nginx)
    slow = server.connect()
    slow.send_request("GET", "/wait")
    deaf = int(wait_notes(server, "waits")[0].split()[1])
    (other,) = set(server.workers()) - {deaf}
    # The other one is busy and idle again, many times.
    for _ in range(20):
        assert who(server, 10, "/pid") == [other] * 10
    assert who(server) == [other] * 100
    touch(server, "go")
    assert slow.read_response().json() == deaf


def test_a_stopped_neighbour(nginx):
    """It is said to have room, but takes nothing."""
    server = site(nginx)
    with busy(server) as (deaf,):
        (other,) = set(server.workers()) - {deaf}
        os.kill(other, signal.SIGSTOP)
        try:
            assert who(server, 20) == [deaf] * 20
        finally:
            os.kill(other, signal.SIGCONT)
        wait_for(lambda: set(who(server, 20)) == {other}, "it is awake")


def test_a_killed_neighbour(nginx):
    server = site(nginx, allow=[r"exited on signal 9"], check_fds=False)
    with busy(server) as (deaf,):
        (other,) = set(server.workers()) - {deaf}
        os.kill(other, signal.SIGKILL)
        (new,) = wait_for(lambda: set(server.workers()) - {deaf, other}, "another one")
        wait_for(lambda: set(who(server, 20)) == {new}, "it has taken the place of the dead one")


def test_a_neighbour_that_is_replaced(nginx):
    """Nobody relies on a worker that leaves."""
    server = site(nginx, check_fds=False)
    with busy(server) as (deaf,):
        (other,) = set(server.workers()) - {deaf}
        server.signal("QUIT", other)
        (new,) = wait_for(lambda: set(server.workers()) - {deaf, other}, "another one")
        wait_for(lambda: set(who(server, 20)) == {new}, "it takes connections")


def test_reload_while_a_worker_is_deaf(nginx):
    server = site(nginx)
    with busy(server) as (deaf,):
        server.hup(wait_old=False)
        everybody(server)
        assert deaf not in server.workers()
    wait_for(lambda: len(server.all_children()) == 2, "the old one is gone")


def test_off(nginx):
    server = site(nginx, http="wsgi_admission off;")
    with busy(server):
        everybody(server)


def test_accept_mutex_is_left_alone(nginx):
    """With it nginx itself decides who listens."""
    server = site(nginx, events="accept_mutex on; accept_mutex_delay 5ms;")
    with busy(server):
        everybody(server)


def test_own_sockets_are_left_alone(nginx):
    """Whoever comes to a worker's own socket would be served by nobody else."""
    port = free_port()
    server = site(nginx, servers="""
        server { listen 127.0.0.1:%d reuseport; location /who { return 200 $pid; } }
    """ % port)
    with busy(server) as (deaf,):
        everybody(server, port=port)
        (other,) = set(server.workers()) - {deaf}
        assert who(server) == [other] * 100


def test_multi_accept(nginx):
    server = site(nginx, events="multi_accept on;")
    with busy(server) as (deaf,):
        (other,) = set(server.workers()) - {deaf}
        assert who(server) == [other] * 100
    everybody(server)


@pytest.mark.parametrize("master", [True, False])
def test_a_worker_alone_is_never_deaf(nginx, master):
    server = site(nginx, workers=1, master=master)
    with busy(server):
        assert len(set(who(server))) == 1


def test_tls_http2_and_unix(nginx):
    """All sockets of HTTP; a connection that is there already goes on."""
    server = site(nginx, tls=True, unix=True)
    with busy(server) as (deaf,):
        (other,) = set(server.workers()) - {deaf}
        for _ in range(20):
            assert server.get("/who", tls=True).text == str(other)
            assert server.get("/who", unix=True).text == str(other)


@pytest.mark.slow
def test_on_and_off_again_and_again(nginx):
    """Threads that are busy for a moment: nothing is lost, and the log stays silent."""
    server = site(nginx, workers=3)
    assert len(set(who(server, 2000, "/pid"))) >= 2
    everybody(server)
    assert not server.log_lines(r"epoll_ctl|\[error\]")


def test_no_descriptors_left(nginx):
    """nginx itself stops listening for a moment, and starts again."""
    server = site(nginx, main="worker_rlimit_nofile 60;", connections=256, allow=[r"\[crit\].*accept4?\(\) failed"],
                  check_fds=False)
    with busy(server) as (deaf,):
        clients = [server.connect() for _ in range(150)]
        server.wait_for_log(f"{deaf}#.*Too many open files")
        for client in clients:
            client.close()
        (other,) = set(server.workers()) - {deaf}
        wait_for(lambda: set(who(server, 20)) == {other}, "only one listens again")
    everybody(server)
    assert not server.log_lines("epoll_ctl")
