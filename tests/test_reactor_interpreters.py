"""ngx_reactor and suspension in sub-interpreters: each has its own handlers, in the one event loop of the worker."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.interpreters import NAMES, answers, three
from harness.nginx import wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    import socket
    import threading
    import ngx_reactor
    from ngx_reactor import NGX_READ_EVENT, add_event, add_timer, create_event, del_event, post

    resumes = {}

    def at_make(environ, start_response):
        ends = socket.socketpair()
        def handler(found):
            del_event(found)
            note("event", NAME, who(), sys.modules["ngx_reactor"] is ngx_reactor)
            for end in ends:
                end.close()
        add_event(create_event(ends[0], handler), NGX_READ_EVENT)
        add_timer(lambda: note("timer", NAME, who()), 10)
        post(lambda: note("post", NAME, who()))
        threading.Thread(target=lambda: post(lambda: note("thread", NAME, who()))).start()
        ends[1].send(b"x")
        return answer(start_response, who())

    def at_fails(environ, start_response):
        def fail():
            raise ValueError("in " + NAME)
        post(fail)
        add_timer(fail, 0)
        return answer(start_response, None)

    def at_wait(environ, start_response):
        start_response("200 OK", PLAIN)
        resumes["a"] = environ["x-wsgiorg.suspend"]()
        note("waits", NAME)
        yield b""
        yield json.dumps([NAME, who()]).encode()

    def at_sleep(environ, start_response):
        start_response("200 OK", PLAIN)
        for _ in range(10):
            yield environ["ngx.sleep"](3)
        yield json.dumps(who()).encode()

    def at_readable(environ, start_response):
        start_response("200 OK", PLAIN)
        ends = socket.socketpair()
        add_timer(lambda: ends[1].send(b"x"), 10)
        yield environ["x-wsgiorg.fdevent.readable"](ends[0], 5.0)
        timed_out = bool(environ["x-wsgiorg.fdevent.timeout"])
        for end in ends:
            end.close()
        yield json.dumps([who(), timed_out]).encode()

    def at_resume(environ, start_response):
        return answer(start_response, resumes["a"]())

    def at_leave(environ, start_response):
        ends = socket.socketpair()
        add_event(create_event(ends[0], lambda found: note("never")), NGX_READ_EVENT)
        resumes["ends"] = ends
        add_timer(lambda: note("never"), 100_000)
        return answer(start_response, None)
    """


def test_handlers_run_where_they_were_made(nginx):
    server = three(nginx, APP)
    numbers = dict(zip(NAMES, answers(server, "make")))
    assert len(set(numbers.values())) == 3
    for kind, more in (("event", " True"), ("timer", ""), ("post", ""), ("thread", "")):
        assert sorted(wait_notes(server, kind, 3)) == sorted(
            f"{kind} {name} {numbers[name]}{more}" for name in NAMES)


def test_errors_of_each(nginx):
    server = three(nginx, APP)
    answers(server, "fails")
    for name in NAMES:
        server.wait_for_log(f"a handler of ngx_reactor raised ValueError: in {name}", count=2)


def test_requests_of_several_are_suspended(nginx):
    server = three(nginx, APP)
    clients = {}
    for number, name in enumerate(NAMES, 1):
        clients[name] = server.connect()
        clients[name].send_request("GET", f"/{name}/wait")
        wait_notes(server, "waits", number)
    for name in reversed(NAMES):
        assert server.get(f"/{name}/resume").json() is True
        assert clients[name].read_response().json()[0] == name


@pytest.mark.parametrize("target", ["sleep", "readable"])
def test_they_wait_side_by_side(nginx, target):
    server = three(nginx, APP)
    clients = [(name, server.connect()) for name in NAMES * 10]
    for name, client in clients:
        client.send_request("GET", f"/{name}/{target}")
    found = {name: set() for name in NAMES}
    for name, client in clients:
        found[name].add(str(client.read_response().json()))
    assert all(len(each) == 1 for each in found.values()) and len(set(map(str, found.values()))) == 3


@pytest.mark.parametrize("how", ["QUIT", "TERM", "HUP"])
def test_the_end_with_something_left_in_each(nginx, how):
    server = three(nginx, APP, check_fds=False, check_connections=False, allow=["open socket left"])
    answers(server, "leave")
    clients = []
    if how != "QUIT":
        for name in NAMES:
            clients.append(server.connect())
            clients[-1].send_request("GET", f"/{name}/wait")
        wait_notes(server, "waits", 3)
    if how == "HUP":
        server.hup(wait_old=False)
        for client in clients:
            client.close()
        wait_for(lambda: len(server.all_children()) == 1, "the old worker is gone")
    else:
        server.signal(how)
        assert server.wait_exit() == 0
    assert settled(lambda: notes(server, "never")) == []
