"""wsgi_optimize_send_headers and wsgi_output_buffering while the application is suspended."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.waiting import nothing_left, resume, send, serve

pytestmark = pytest.mark.inline_only

OPTIMIZE = "location / { wsgi_optimize_send_headers on; wsgi_pass app.py; }"
BUFFERING = "location / { wsgi_output_buffering on; wsgi_pass app.py; }"
APP = """
    def at_tagged(environ, start_response):
        start_response("200 OK", PLAIN + [("ETag", '"v1"')])
        return waiting(environ, "a")

    def at_asked(environ, start_response):
        # The suspension is asked for before the iteration.
        start_response(environ["QUERY_STRING"] + " Own", PLAIN + [("ETag", '"v1"')])
        resumes["a"] = environ["x-wsgiorg.suspend"]()
        return Body(b"", b"body")

    def at_late(environ, start_response):
        # Without start_response there is no head to send.
        resumes["a"] = environ["x-wsgiorg.suspend"]()
        note("waits")
        yield b""
        start_response("200 OK", PLAIN)
        yield b"late"
    """


def test_the_head_goes_out_with_the_empty_item(nginx):
    server = serve(nginx, APP, OPTIMIZE)
    client = send(server, "/wait?a")
    head = client.read_head()
    assert head.status == 200 and notes(server) == ["waits a"]
    resume(server, "a")
    client.read_body(head)
    assert head.body == b"done a"


def test_there_may_be_no_head_yet(nginx):
    server = serve(nginx, APP, OPTIMIZE)
    client = send(server, "/late")
    assert resume(server, "a") is True
    assert client.read_response().body == b"late"


@pytest.mark.parametrize("method, headers, status", [("HEAD", (), 200), ("GET", [("If-None-Match", '"v1"')], 304)])
def test_a_request_that_gets_no_body_is_not_suspended(nginx, method, headers, status):
    server = serve(nginx, APP, OPTIMIZE)
    with nothing_left(server):
        assert server.request(method, "/tagged", headers).status == status
        wait_notes(server, "finally")
        assert resume(server, "a") is False
    assert notes(server) == ["waits a", "finally a"]


@pytest.mark.parametrize("status", [204, 304])
def test_nor_is_a_status_without_a_body(nginx, status):
    server = serve(nginx, APP, OPTIMIZE)
    assert server.get(f"/asked?{status}").status == status
    wait_notes(server, "close")
    assert resume(server, "a") is False


def test_asked_for_before_the_iteration(nginx):
    server = serve(nginx, APP, OPTIMIZE)
    client = server.connect()
    client.send_request("GET", "/asked?200")
    head = client.read_head()
    assert settled(lambda: notes(server)) == []
    assert resume(server, "a") is True
    client.read_body(head)
    assert head.body == b"body"


def test_a_reload_while_the_head_is_out_and_the_body_waits(nginx):
    server = serve(nginx, APP, OPTIMIZE, http="wsgi_suspend_timeout 5s;")
    client = send(server, "/wait?a")
    head = client.read_head()
    server.hup(wait_old=False)
    assert server.get("/hello").body == b"hello"
    client.close()
    assert head.status == 200


def test_held_blocks_arrive_at_the_latest_at_the_end(nginx):
    server = serve(nginx, APP, BUFFERING)
    client = send(server, "/began?a")
    resume(server, "a")
    assert client.read_response().body == b"first done a"


def test_a_full_page_of_blocks_is_not_held(nginx):
    server = serve(nginx, """
        def at_page(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"x" * 100_000
            yield from waiting(environ, "a")
        """, BUFFERING)
    client = send(server, "/page")
    head = client.read_head()
    while len(head.body) < 100_000:
        client.read_chunk(head)
    resume(server, "a")
    client.read_body(head)
    assert head.body == b"x" * 100_000 + b"done a"
