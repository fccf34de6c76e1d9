"""nginx's own thread never waits for the GIL: what needs no Python is answered while a thread holds it."""

import pytest

from harness.apps import notes, touch, wait_notes
from harness.nginx import alive, wait_for
from harness.threads import ask, hold, let_go, serve, wait_in_nginx

pytestmark = pytest.mark.once

BIG = 4_000_000


def others_go_on(server, client=None):
    """Static files, nginx's own answers and its log, on new connections and on an open one."""
    client = client or server.connect()
    lines = len(server.access_lines())
    for _ in range(3):
        for where in (server.get, lambda target: client.request("GET", target)):
            assert where("/static/file.txt").body == b"static"
            assert where("/ok").body == b"ok"
            assert where("/static/missing").status == 404
    since = len(server.access_lines())
    wait_for(lambda: len(server.access_lines()) - lines >= 18, lambda: f"lines in the access log: {since - lines}")
    assert server.log_lines(r"static/missing\" failed")


def still_held(server, name="held"):
    assert notes(server, f"holds {name}") and not notes(server, f"lets go {name}")


def test_everything_else_goes_on_while_a_thread_holds_the_gil(nginx):
    server = serve(nginx)
    open_one = server.connect()
    assert open_one.request("GET", "/hello").body == b"hello"
    client = hold(server)
    others_go_on(server, open_one)
    still_held(server)
    let_go(server)
    assert client.read_response().body == b"held"
    assert open_one.request("GET", "/hello").body == b"hello"


@pytest.mark.parametrize("call", ["sum(itertools.repeat(1, {}))", "re.match('(a|aa)+$', 'a' * {} + 'b')"])
def test_a_long_call_of_python(nginx, call):
    """The same with what applications really do. The call takes about a second, so a slow machine may miss it."""
    server = serve(nginx, f"""
        import itertools
        import re

        def run(size):
            begin = time.perf_counter()
            {call.format("size")}
            return time.perf_counter() - begin

        def calibrated():
            # The match takes 1.6 times longer with each letter.
            size, step = (100000, lambda size: size * 2) if "sum" in {call!r} else (18, lambda size: size + 1)
            while run(size) < 0.5:
                size = step(size)
            return size

        SIZE = calibrated()

        def at_long(environ, start_response):
            note("in")
            run(SIZE)
            note("out")
            return answer(start_response, b"long")
        """)
    assert server.get("/hello").body == b"hello"
    for turn in range(1, 6):
        client = server.connect()
        client.send_request("GET", "/long")
        wait_notes(server, "in", turn)
        answers = [server.get("/ok").body, server.get("/static/file.txt").body]
        inside = len(notes(server, "out")) < turn
        assert answers == [b"ok", b"static"]
        assert client.read_response().body == b"long"
        if inside:
            return
    raise AssertionError("nothing was answered before the call was over, five times")


def test_requests_to_applications_wait_and_others_do_not(nginx):
    server = serve(nginx, threads="3 queue=2")
    client = hold(server)
    # Two more for threads, which cannot run, two for the queue, and one too many.
    waiting = [ask(server, f"/hello?{number}") for number in range(4)]
    wait_in_nginx(server, 5)
    assert server.get("/hello").status == 503
    others_go_on(server)
    still_held(server)
    assert notes(server, "hello") == []
    let_go(server)
    assert client.read_response().body == b"held"
    assert [each.read_response().body for each in waiting] == [b"hello"] * 4


@pytest.mark.parametrize("who", ["the one that holds", "one that waits", "one that streams"])
def test_a_client_that_leaves_meanwhile(nginx, who):
    server = serve(nginx, """
        def at_stream(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(*[b"x" * 1_000_000] * 50)
        """, threads="3")
    streams = server.connect(rcvbuf=4096)
    streams.send_request("GET", "/stream")
    streams.read_head()
    holds = hold(server)
    waits = ask(server, "/hello")
    leaves = {"the one that holds": holds, "one that waits": waits, "one that streams": streams}[who]
    leaves.reset()
    others_go_on(server)
    still_held(server)
    let_go(server)
    if leaves is not holds:
        assert holds.read_response().body == b"held"
    if leaves is not waits:
        assert waits.read_response().body == b"hello"
    streams.reset() if leaves is not streams else None
    wait_notes(server, "close body")
    assert notes(server, "close") == ["close body"]


@pytest.mark.parametrize("how", ["plain", "tls", "h2"])
def test_a_block_leaves_and_is_let_go_without_python(nginx, how):
    """What the kernel took may be freed by Python only, which is not now."""
    server = serve(nginx, f"""
        def at_block(environ, start_response):
            start_response("200 OK", [("Content-Length", "{BIG}")])
            return [b"0123456789abcdef" * {BIG // 16}]
        """, tls=True, h2c=True)
    if how == "h2":
        client = server.h2(hold=True)
        stream = client.send_request("GET", "/block")
        client.wait(lambda: len(stream.body) >= 65535)
    else:
        client = server.connect(tls=how == "tls", rcvbuf=4096)
        client.send_request("GET", "/block")
        client.read_head()
    holds = hold(server)
    if how == "h2":
        client.hold = False
        client.release()
        client.wait(lambda: len(stream.body) == BIG)
        body = bytes(stream.body)
    else:
        body = client.read_exactly(BIG)
    assert body == b"0123456789abcdef" * (BIG // 16)
    others_go_on(server)
    still_held(server)
    let_go(server)
    assert holds.read_response().body == b"held"
    if how == "h2":
        client.finish(stream)


def test_a_request_that_is_logged_meanwhile(nginx):
    """Its answer was small: Python is done with it long before the client has it all and the line is written."""
    server = serve(nginx, """
        def at_small(environ, start_response):
            note("small")
            start_response("200 OK", [*PLAIN, ("Content-Length", "60000")])
            return [b"x" * 60000]
        """, servers="server { listen unix:%%FOLDER%%/slow.sock sndbuf=4k; wsgi_threads 2; send_timeout 20s;"
                     " location / { wsgi_pass app.py; } }")
    from harness.http import Connection
    with Connection(str(server.folder / "slow.sock")) as client:
        client.send_request("GET", "/small")
        head = client.read_head()
        holds = hold(server)
        client.read_body(head)
        assert head.body == b"x" * 60000
        wait_for(lambda: [line for line in server.access_lines() if '"GET /small HTTP/1.1" 200' in line],
                 "a line in the access log")
        still_held(server)
        let_go(server)
        assert holds.read_response().body == b"held"


@pytest.mark.parametrize("signal", ["HUP", "QUIT"])
def test_at_the_end_of_a_worker(nginx, signal):
    """A worker that ends gracefully still serves: downloads go on while a thread of it holds the GIL."""
    server = serve(nginx)
    (server.folder / "static/big").write_bytes(b"b" * 20_000_000)
    old = server.worker
    download = server.connect(rcvbuf=4096)
    download.send_request("GET", "/static/big")
    head = download.read_head()
    holds = hold(server)
    if signal == "HUP":
        server.hup(wait_old=False)
        assert server.get("/hello?new").body == b"hello"
    else:
        server.signal("QUIT")
        server.wait_for_log("gracefully shutting down")
    download.read_body(head)
    assert len(head.body) == 20_000_000
    still_held(server)
    assert alive(old)
    let_go(server)
    assert holds.read_response().body == b"held"
    if signal == "HUP":
        wait_for(lambda: not alive(old), "the old worker is gone")
    else:
        assert server.wait_exit() == 0


def test_a_reload_that_imports_with_the_gil_held(nginx):
    """The new worker answers what needs no Python while its application computes at import."""
    server = serve(nginx, """
        if there("slow"):
            hold_gil("import")
        """)
    # The first worker's import is over.
    assert server.get("/hello").body == b"hello"
    touch(server, "slow")
    server.hup(wait_old=False)
    wait_notes(server, "holds import")
    others_go_on(server)
    waits = ask(server, "/hello")
    still_held(server, "import")
    let_go(server, "import")
    assert waits.read_response().body == b"hello"
