"""Suspension and ngx_reactor with the other event modules of nginx: poll and select report levels, not changes."""

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.nginx import BUILT_WITH, cpu
from harness.reactor import ask, serve
from harness.waiting import resume, suspended

APP = """
    def at_level(environ, start_response):
        # Nobody reads the whole.
        start_response("200 OK", PLAIN)
        end, said = pair("a"), ""
        pairs["a"][1].send(b"12345")
        while len(said) < 5:
            yield environ["x-wsgiorg.fdevent.readable"](end, 5.0)
            said += end.recv(1).decode()
        yield environ["x-wsgiorg.fdevent.readable"](end, 0.02)
        timed_out = bool(environ["x-wsgiorg.fdevent.timeout"])
        fill(end)
        yield environ["x-wsgiorg.fdevent.writable"](end, 0.02)
        part("a")
        yield json.dumps([said, timed_out, bool(environ["x-wsgiorg.fdevent.timeout"])]).encode()

    def at_either(environ, start_response):
        # A reader and a writer of one descriptor in one loop.
        start_response("200 OK", PLAIN)
        end, said = pair("a"), []
        conn = environ["ngx.connection_wrapper"](end)
        for flags in (1, 4, 5):
            environ["ngx.poll_register"](conn, flags)
            state = environ["ngx.poll"](20)
            yield b""
            said.append(state()[1])
        pairs["a"][1].send(b"x")
        state = environ["ngx.poll"](5000)
        yield b""
        said.append(state()[1])
        part("a")
        yield json.dumps(said).encode()

    def at_event(environ, start_response):
        def handler(found):
            note("called", found.ready, found.arg.recv(1).decode())
        end = pair("a")
        events["a"] = create_event(end, handler, end)
        add_event(events["a"])
        return answer(start_response, None)

    def at_thread(environ, start_response):
        start_response("200 OK", PLAIN)
        resume = environ["wsgi.pause_output"]()
        def run():
            block_until_there("go")
            note("said", resume())
            post(lambda: note("posted"))
        threading.Thread(target=run).start()
        note("waits")
        yield b""
        yield environ["ngx.sleep"](20)
        yield b"done"

    def at_closed(environ, start_response):
        # Closed while it is watched: select() and poll() complain of such descriptors.
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.fdevent.readable"](pair("a"), 0.2)
        part("a")
        yield b""
        yield b"closed"
    """


@pytest.fixture(params=["epoll", "poll", "select"])
def server(nginx, request):
    if request.param != "epoll" and f"--with-{request.param}_module" not in BUILT_WITH:
        pytest.skip(f"this nginx was built without the event module {request.param}")
    found = serve(nginx, APP, events=f"use {request.param};", connections=256)
    assert found.log_lines(f'using the "{request.param}" event method')
    return found


pytestmark = pytest.mark.inline_only


def test_levels(server):
    for _ in range(3):
        assert ask(server, "/level") == ["12345", True, True]


def test_both_directions(server):
    for _ in range(3):
        assert ask(server, "/either") == [0, 4, 4, 5]


def test_events(server):
    ask(server, "/event")
    for number in range(1, 4):
        server.get("/send?a")
        wait_notes(server, "called", number)
    assert settled(lambda: notes(server), quiet=0.1) == ["called 1 x"] * 3
    ask(server, "/quiet")
    # Taken back: the loop sleeps.
    used = cpu(server.worker)
    settled(lambda: 0, quiet=0.3)
    assert cpu(server.worker) - used < 0.2


def test_a_thread_wakes_the_loop(server):
    client = server.connect()
    client.send_request("GET", "/thread")
    suspended(server)
    touch(server, "go")
    assert client.read_response().body == b"done"
    assert wait_notes(server, "said") == ["said True"]
    wait_notes(server, "posted")


def test_many_requests(server):
    clients = [server.connect() for _ in range(40)]
    for number, client in enumerate(clients):
        client.send_request("GET", f"/{'readable' if number % 2 else 'wait'}?{number}")
    suspended(server, 40)
    for number in range(40):
        if number % 2:
            server.get(f"/send?{number}")
        else:
            assert resume(server, number) is True
    for client in clients:
        assert client.read_response().status == 200


def test_a_client_leaves(server):
    client = server.connect()
    client.send_request("GET", "/readable?a")
    suspended(server)
    client.reset()
    wait_notes(server, "finally")


def test_a_closed_descriptor(server):
    assert server.get("/closed").body == b"closed"
    assert server.get("/hello").body == b"hello"


@pytest.mark.parametrize("name", ["QUIT", "TERM"])
def test_the_end(server, name):
    server.check_fds = False
    ask(server, "/event")
    server.signal(name)
    assert server.wait_exit() == 0
