"""The end of a worker that has suspended requests: gracefully it waits for them, otherwise close() runs."""

import os

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.http import Truncated
from harness.nginx import alive, wait_for
from harness.waiting import send, serve, suspended

pytestmark = pytest.mark.inline_only

APP = """
    def at_until(environ, start_response):
        # Looks every now and then whether the test lets it go: works in a worker that takes no requests any more.
        start_response("200 OK", PLAIN)
        try:
            note("waits")
            while not there("go"):
                environ["x-wsgiorg.suspend"](20)
                yield b""
            yield b"done"
        finally:
            note("finally")

    def at_thread(environ, start_response):
        start_response("200 OK", PLAIN)
        resume = environ["wsgi.pause_output"]()
        def wake():
            block_until_there("go")
            note("resume", resume())
        threading.Thread(target=wake).start()
        try:
            note("waits")
            yield b""
            yield b"done"
        finally:
            note("finally")

    def at_pipe(environ, start_response):
        # A pipe with a name, to which the test writes.
        start_response("200 OK", PLAIN)
        fd = os.open(os.path.join(HERE, "pipe"), os.O_RDWR | os.O_NONBLOCK)
        try:
            note("waits")
            yield environ["x-wsgiorg.fdevent.readable"](fd)
            yield os.read(fd, 100)
        finally:
            os.close(fd)
            note("finally")
    """
CUT = dict(check_connections=False, check_fds=False, allow=["open socket left"])


def let_go(server):
    touch(server, "go")
    if (server.folder / "pipe").exists():
        fd = os.open(server.folder / "pipe", os.O_RDWR | os.O_NONBLOCK)
        os.write(fd, b"done")
        os.close(fd)


def fifo(server):
    os.mkfifo(server.folder / "pipe")


@pytest.mark.parametrize("target", ["/until", "/thread", "/pipe"])
@pytest.mark.parametrize("how", ["QUIT", "HUP"])
def test_gracefully(nginx, target, how):
    server = serve(nginx, APP)
    fifo(server)
    worker = server.worker
    client = send(server, target)
    server.hup(wait_old=False) if how == "HUP" else server.signal("QUIT")
    server.wait_for_log("gracefully shutting down")
    assert settled(lambda: notes(server, "finally"), quiet=0.5) == []
    assert alive(worker)
    let_go(server)
    assert client.read_response().body == b"done"
    client.close()
    wait_for(lambda: not alive(worker), lambda: f"the old worker is gone\n{server.tail()}")
    assert notes(server, "finally") == ["finally"]
    if how == "QUIT":
        assert server.wait_exit() == 0
    else:
        assert server.get("/hello").body == b"hello"


@pytest.mark.parametrize("how", ["QUIT", "HUP"])
def test_gracefully_with_http2(nginx, how):
    server = serve(nginx, APP, h2c=True)
    worker = server.worker
    client = server.h2()
    streams = [client.send_request("GET", target) for target in ("/until", "/thread")]
    suspended(server, 2)
    server.hup(wait_old=False) if how == "HUP" else server.signal("QUIT")
    server.wait_for_log("gracefully shutting down")
    let_go(server)
    client.finish(*streams)
    assert [stream.body for stream in streams] == [b"done", b"done"]
    client.close()
    wait_for(lambda: not alive(worker), "the old worker is gone")
    if how == "QUIT":
        assert server.wait_exit() == 0


@pytest.mark.parametrize("how", ["QUIT", "HUP"])
def test_its_limit_ends_the_waiting(nginx, how):
    """A worker that quits is held for no longer than wsgi_suspend_timeout."""
    server = serve(nginx, APP, http="wsgi_suspend_timeout 1s;")
    worker = server.worker
    client = send(server, "/wait?a")
    server.hup(wait_old=False) if how == "HUP" else server.signal("QUIT")
    assert client.read_response().status == 504
    wait_for(lambda: not alive(worker), "the old worker is gone")
    assert notes(server, "finally") == ["finally a"]
    if how == "QUIT":
        assert server.wait_exit() == 0


@pytest.mark.parametrize("how", ["QUIT", "HUP"])
def test_the_client_leaves_a_worker_that_quits(nginx, how):
    server = serve(nginx, APP)
    worker = server.worker
    client = send(server, "/readable?a")
    server.hup(wait_old=False) if how == "HUP" else server.signal("QUIT")
    server.wait_for_log("gracefully shutting down")
    client.close()
    wait_for(lambda: not alive(worker), lambda: f"the old worker is gone\n{server.tail()}")
    assert notes(server, "finally") == ["finally a"]
    if how == "QUIT":
        assert server.wait_exit() == 0


@pytest.mark.parametrize("name", ["TERM", "INT"])
@pytest.mark.parametrize("target", ["/wait?a", "/began?a", "/readable?a"])
def test_fast(nginx, name, target):
    server = serve(nginx, APP, **CUT)
    client = send(server, target)
    server.signal(name)
    assert server.wait_exit() == 0
    assert notes(server) == ["waits a", "finally a"]
    with pytest.raises(Truncated):
        client.read_response()


def test_fast_with_many_of_all_kinds(nginx):
    server = serve(nginx, APP, h2c=True, tls=True, **CUT)
    fifo(server)
    clients = []
    for number in range(10):
        for target in (f"/wait?w{number}", f"/readable?r{number}", f"/began?b{number}", "/pipe", "/until"):
            clients.append(server.connect(tls=number % 2 == 0))
            clients[-1].send_request("GET", target)
    client = server.h2()
    for number in range(10):
        client.send_request("GET", f"/wait?s{number}")
    suspended(server, 60)
    server.signal("TERM")
    assert server.wait_exit() == 0
    assert len(notes(server, "finally")) == 60


@pytest.mark.parametrize("how", ["QUIT", "HUP"])
def test_worker_shutdown_timeout(nginx, how):
    server = serve(nginx, APP, main="worker_shutdown_timeout 300ms;", **CUT)
    worker = server.worker
    clients = [send(server, target) for target in ("/wait?a", "/began?b", "/readable?c")]
    server.hup(wait_old=False) if how == "HUP" else server.signal("QUIT")
    wait_for(lambda: not alive(worker), lambda: f"the old worker is gone\n{server.tail()}")
    assert sorted(notes(server, "finally")) == ["finally a", "finally b", "finally c"]
    for client in clients:
        with pytest.raises(Truncated):
            client.read_response()
    if how == "QUIT":
        assert server.wait_exit() == 0


@pytest.mark.parametrize("name", ["TERM", "QUIT"])
def test_a_single_process(nginx, name):
    """It has no graceful end."""
    server = serve(nginx, APP, master=False, **CUT)
    for target in ("/until", "/readable?a"):
        send(server, target)
    server.signal(name)
    assert server.wait_exit() == 0
    assert sorted(notes(server, "finally")) == ["finally", "finally a"]


def test_resume_after_the_worker_has_begun_to_end(nginx):
    """A thread of the application calls it whenever it likes."""
    server = serve(nginx, """
        import atexit

        atexit.register(lambda: note("atexit", resumes["a"]()))
        """, **CUT)
    send(server, "/wait?a")
    server.signal("TERM")
    assert server.wait_exit() == 0
    assert notes(server) == ["waits a", "finally a", "atexit False"]


def test_a_thread_resumes_while_the_worker_ends(nginx):
    server = serve(nginx, """
        def at_hammered(environ, start_response):
            start_response("200 OK", PLAIN)
            resumes["b"] = environ["x-wsgiorg.suspend"]()
            def hammer():
                for resume in iter(lambda: resumes["b"], None):
                    resume()
                    time.sleep(0)
            threading.Thread(target=hammer, daemon=True).start()
            yield from waiting(environ, "b")
            while True:
                resumes["b"] = environ["x-wsgiorg.suspend"]()
                yield b""
        """, **CUT)
    client = server.connect()
    client.send_request("GET", "/hammered")
    wait_notes(server, "goes on")
    server.signal("TERM")
    assert server.wait_exit() == 0
    assert notes(server, "finally")


def test_a_worker_that_is_replaced(nginx):
    """wsgi_max_requests waits for what is suspended, as for everything that has begun."""
    server = serve(nginx, APP, http="wsgi_max_requests 5;")
    old = server.worker
    client = send(server, "/until")
    while server.workers() == [old]:
        server.get("/hello")
    assert alive(old) and notes(server, "finally") == []
    touch(server, "go")
    assert client.read_response().body == b"done"
    client.close()
    wait_for(lambda: not alive(old), "the old worker is gone")


def test_reloads_while_requests_are_suspended(nginx):
    server = serve(nginx, APP)
    clients = []
    for _ in range(3):
        clients.append(send(server, "/thread"))
        server.hup(wait_old=False)
    touch(server, "go")
    for client in clients:
        assert client.read_response().body == b"done"
        client.close()
