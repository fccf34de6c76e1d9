"""The end of a worker with threads in the middle of requests: all finish, and what is stuck does not hold it."""

import threading

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.http import Truncated
from harness.load import Load
from harness.nginx import alive, wait_for
from harness.threads import ask, hold, serve, wait_in_nginx

LEFT = {"check_connections": False, "check_fds": False, "allow": ["open socket left"]}


def running_and_queued(server, queued=4):
    clients = [ask(server, f"/wait?{number}") for number in range(2)]
    wait_notes(server, "wait", 2)
    clients += [ask(server, f"/hello?{number}") for number in range(queued)]
    wait_in_nginx(server, 2 + queued)
    return clients


def finish(server, clients):
    for number in range(2):
        touch(server, number)
    assert [client.read_response().body for client in clients] == [b"0", b"1"] + [b"hello"] * (len(clients) - 2)


@pytest.mark.parametrize("signal", ["QUIT", "HUP"])
def test_running_and_queued_requests_finish(nginx, signal):
    server = serve(nginx)
    clients = running_and_queued(server)
    old = server.worker
    if signal == "QUIT":
        server.signal("QUIT")
        server.wait_for_log("gracefully shutting down")
    else:
        server.hup(wait_old=False)
        assert server.get("/hello?new").body == b"hello"
    assert alive(old)
    finish(server, clients)
    for client in clients:
        client.close()
    if signal == "QUIT":
        assert server.wait_exit() == 0
    else:
        wait_for(lambda: not alive(old), lambda: f"the old worker ends\n{server.tail()}")
        assert server.get("/hello").body == b"hello"


def test_over_http_2(nginx):
    server = serve(nginx, h2c=True)
    client = server.h2()
    streams = [client.send_request("GET", f"/wait?{number}") for number in range(2)]
    wait_notes(server, "wait", 2)
    streams += [client.send_request("GET", "/hello") for _ in range(4)]
    wait_in_nginx(server, 6)
    old = server.worker
    server.hup(wait_old=False)
    touch(server, 0)
    touch(server, 1)
    client.finish(*streams)
    assert [bytes(stream.body) for stream in streams] == [b"0", b"1"] + [b"hello"] * 4
    client.close()
    wait_for(lambda: not alive(old), "the old worker ends")


def test_streams_and_writes_finish(nginx):
    server = serve(nginx, """
        def at_stream(environ, start_response):
            write = start_response("200 OK", PLAIN)
            for number in range(20):
                write(b"w" * 100_000)
            return Body(*[b"x" * 100_000] * 20)
        """)
    clients = [server.connect(rcvbuf=4096) for _ in range(2)]
    heads = []
    for client in clients:
        client.send_request("GET", "/stream")
        heads.append(client.read_head())
    old = server.worker
    server.hup(wait_old=False)
    for client, head in zip(clients, heads):
        client.read_body(head)
        assert head.body == b"w" * 2_000_000 + b"x" * 2_000_000
        client.close()
    wait_for(lambda: not alive(old), "the old worker ends")


def test_several_reloads_in_a_row(nginx):
    server = serve(nginx)
    clients, old = [], []
    for turn in range(3):
        clients.append(ask(server, f"/wait?turn{turn}"))
        wait_notes(server, "wait", turn + 1)
        old.append(server.worker)
        server.hup(wait_old=False)
    assert all(alive(pid) for pid in old)
    for turn, client in enumerate(clients):
        touch(server, f"turn{turn}")
        assert client.read_response().text == f"turn{turn}"
        client.close()
        wait_for(lambda: not alive(old[turn]), "an old worker ends")
    assert server.get("/hello").body == b"hello"


def test_idle_threads_hold_nothing(nginx):
    server = serve(nginx, threads=8)
    clients = [ask(server, "/wait?go") for _ in range(8)]
    wait_notes(server, "wait", 8)
    touch(server, "go")
    for client in clients:
        assert client.read_response().body == b"go"
        client.close()
    server.hup()
    server.stop()


def test_the_end_is_the_same_after_a_client_has_left(nginx):
    server = serve(nginx)
    client = ask(server, "/wait?go")
    wait_notes(server, "wait")
    client.reset()
    settled(lambda: server.status()["active"])
    old = server.worker
    server.hup(wait_old=False)
    touch(server, "go")
    wait_notes(server, "done")
    wait_for(lambda: not alive(old), "the old worker ends")


@pytest.mark.parametrize("signal", ["QUIT", "HUP"])
@pytest.mark.parametrize("how", ["python", "c"])
def test_worker_shutdown_timeout(nginx, signal, how):
    """A thread that is stuck, in Python or in C with the GIL, keeps a worker no longer."""
    server = serve(nginx, main="worker_shutdown_timeout 300ms;", **LEFT)
    stuck = ask(server, "/wait?never") if how == "python" else hold(server)
    if how == "python":
        wait_notes(server, "wait")
    queued = [ask(server, "/hello?queued") for _ in range(1 if how == "c" else 0)]
    old = server.worker
    if signal == "QUIT":
        server.signal("QUIT")
        assert server.wait_exit() == 0
    else:
        server.hup(wait_old=False)
        wait_for(lambda: not alive(old), lambda: f"the old worker ends\n{server.tail()}")
        assert server.get("/hello?new").body == b"hello"
    with pytest.raises(Truncated):
        stuck.read_response()
    for client in queued:
        with pytest.raises(Truncated):
            client.read_response()
    assert not notes(server, "done") and not notes(server, "lets go")
    assert not notes(server, "hello queued")


def test_what_ends_within_worker_shutdown_timeout_is_answered(nginx):
    server = serve(nginx, main="worker_shutdown_timeout 20s;")
    clients = running_and_queued(server)
    server.signal("QUIT")
    server.wait_for_log("gracefully shutting down")
    finish(server, clients)
    for client in clients:
        client.close()
    assert server.wait_exit() == 0


@pytest.mark.parametrize("how", ["running", "streaming", "writing", "c"])
def test_term(nginx, how):
    """Nothing is waited for, and nothing crashes."""
    server = serve(nginx, """
        def at_stream(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(*[b"x" * 100_000] * 80)

        def at_write(environ, start_response):
            write = start_response("200 OK", PLAIN)
            while True:
                write(b"x" * 100_000)
        """, **LEFT)
    if how in ("streaming", "writing"):
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", "/stream" if how == "streaming" else "/write")
        client.read_head()
    elif how == "running":
        client = ask(server, "/wait?never")
        wait_notes(server, "wait")
    else:
        client = hold(server)
    waits = ask(server, "/hello")
    server.signal("TERM")
    assert server.wait_exit() == 0
    assert not notes(server, "done") and not notes(server, "lets go")
    for each in (client, waits):
        each.close()


@pytest.mark.parametrize("signal", ["QUIT", "TERM"])
def test_a_single_process(nginx, signal):
    """Such an nginx waits for nobody."""
    server = serve(nginx, master=False, **LEFT)
    clients = running_and_queued(server)
    server.signal(signal)
    assert server.wait_exit() == 0
    assert not notes(server, "hello")
    for client in clients:
        client.close()


def test_a_thread_that_never_returns_at_the_end_of_everything(nginx):
    """After its client has left, a request that does not end holds the worker no longer than the limit."""
    server = serve(nginx, main="worker_shutdown_timeout 300ms;", **LEFT)
    client = ask(server, "/wait?never")
    wait_notes(server, "wait")
    client.reset()
    settled(lambda: server.status()["active"])
    server.signal("QUIT")
    assert server.wait_exit() == 0


def test_atexit_runs_after_the_last_request(nginx):
    server = serve(nginx, """
        import atexit
        atexit.register(note, "atexit")
        """)
    clients = running_and_queued(server, 2)
    server.signal("QUIT")
    server.wait_for_log("gracefully shutting down")
    assert notes(server, "atexit") == []
    finish(server, clients)
    for client in clients:
        client.close()
    assert server.wait_exit() == 0
    found = notes(server)
    assert found[-1] == "atexit" and found.count("atexit") == 1


def test_requests_under_load_all_finish_through_reloads(nginx):
    class Whole(Load):
        def check(self, answer, begun):
            assert answer.body == b"x" * 200_000

    server = serve(nginx, """
        def at_load(environ, start_response):
            time.sleep(0.001)
            start_response("200 OK", PLAIN)
            return iter([b"x" * 50_000] * 4)
        """, threads=3)
    stop = threading.Event()
    clients = [Whole(server, stop, keep_alive, "/load") for keep_alive in (True, False, True, False)]
    for client in clients:
        client.start()
    for turn in range(3):
        done = sum(client.done for client in clients)
        server.hup()
        wait_for(lambda: sum(client.done for client in clients) > done + 20, "requests after the reload")
    stop.set()
    for client in clients:
        client.join(20)
    assert [client.failures for client in clients] == [[]] * 4
