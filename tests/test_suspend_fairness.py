"""Requests that never stop waking, and what happens in the same turn of the event loop."""

import pytest

from harness.apps import serve, settled, notes, touch, wait_notes

pytestmark = pytest.mark.inline_only

CONF = "location / { wsgi_pass app.py; } location = /static { return 200 hello; }"


def test_requests_that_resume_each_other_let_nginx_go_on(nginx):
    server = serve(nginx, """
        resumes = {}

        def at_ping(environ, start_response):
            start_response("200 OK", PLAIN)
            me, other = environ["QUERY_STRING"]
            note("begun", me)
            while not there("stop"):
                resumes[me] = environ["x-wsgiorg.suspend"](3000)
                if other in resumes:
                    resumes.pop(other)()
                yield b""
            for resume in resumes.values():
                resume()
            yield b"done"
        """, CONF)
    clients = [server.connect() for _ in "ab"]
    for client, names in zip(clients, ("ab", "ba")):
        client.send_request("GET", f"/ping?{names}")
    # They stop when nginx has done something else meanwhile.
    for _ in range(5):
        assert server.get("/static").body == b"hello"
    wait_notes(server, "begun", 2)
    assert server.get("/static").body == b"hello"
    touch(server, "stop")
    assert [client.read_response().body for client in clients] == [b"done"] * 2


def test_a_handler_that_posts_itself_lets_nginx_go_on(nginx):
    server = serve(nginx, """
        import ngx_reactor
        resumes = []

        def again():
            if resumes:
                resumes.pop()()
            if not there("stop"):
                ngx_reactor.post(again)

        def at_turns(environ, start_response):
            start_response("200 OK", PLAIN)
            ngx_reactor.post(again)
            note("begun")
            while not there("stop"):
                resumes.append(environ["x-wsgiorg.suspend"](3000))
                yield b""
            yield b"done"
        """, CONF)
    client = server.connect()
    client.send_request("GET", "/turns")
    wait_notes(server, "begun")
    for _ in range(5):
        assert server.get("/static").body == b"hello"
    touch(server, "stop")
    assert client.read_response().body == b"done"


def test_readiness_wins_although_something_was_posted(nginx):
    """What has happened in the turn in which the time ends counts, whoever has posted what in that turn."""
    server = serve(nginx, """
        import socket
        import ngx_reactor
        ours, theirs = socket.socketpair()

        def at_waiter(environ, start_response):
            note("waits")
            yield environ["x-wsgiorg.fdevent.readable"](ours, 0.3)
            yield from answer(start_response, bool(environ["x-wsgiorg.fdevent.timeout"]))

        def at_poster(environ, start_response):
            note("posts")
            ngx_reactor.post(lambda: None)
            return answer(start_response, b"posted")

        def at_block(environ, start_response):
            note("blocks")
            block_until_there("go")
            time.sleep(0.4)
            theirs.send(b"x")
            return answer(start_response, b"blocked")
        """)
    waiter, poster, blocker = (server.connect() for _ in range(3))
    # So that a request of this connection is an event like others.
    poster.request("GET", "/poster")
    waiter.send_request("GET", "/waiter")
    wait_notes(server, "waits")
    blocker.send_request("GET", "/block")
    wait_notes(server, "blocks")
    poster.send_request("GET", "/poster")
    settled(lambda: notes(server))
    touch(server, "go")
    assert blocker.read_response().body == b"blocked"
    assert poster.read_response().body == b"posted"
    assert waiter.read_response().json() is False
