"""wsgi.pause_output: an empty item, and the server asks for no other until resume() is called."""

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.waiting import nothing_left, resume, send, serve

pytestmark = pytest.mark.inline_only

APP = """
    def at_pause(environ, start_response):
        start_response("200 OK", PLAIN)
        return waiting(environ, environ["QUERY_STRING"], "wsgi.pause_output")

    def at_thread(environ, start_response):
        start_response("200 OK", PLAIN)
        resume = environ["wsgi.pause_output"]()
        def wake():
            block_until_there("go")
            note("said", resume(), resume())
        threading.Thread(target=wake).start()
        note("waits")
        yield b""
        yield b"done"

    def at_early(environ, start_response):
        start_response("200 OK", PLAIN)
        said = environ["wsgi.pause_output"]()()
        yield b""
        yield json.dumps(said).encode()

    def at_status(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.suspend"](10)
        yield b""
        before = bool(environ["x-wsgiorg.suspend_status"])
        resumes["a"] = environ["wsgi.pause_output"]()
        note("waits")
        yield b""
        yield json.dumps([before, bool(environ["x-wsgiorg.suspend_status"])]).encode()
    """


def test_until_resume_is_called(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/pause?a")
        assert settled(lambda: notes(server)) == ["waits a"]
        assert [resume(server, "a"), resume(server, "a")] == [True, False]
        assert client.read_response().body == b"done a"
        client.close()


def test_from_a_thread(nginx):
    server = serve(nginx, APP)
    client = send(server, "/thread")
    touch(server, "go")
    assert client.read_response().body == b"done"
    assert wait_notes(server, "said") == ["said True False"]


def test_before_the_empty_item(nginx):
    server = serve(nginx, APP)
    assert server.get("/early").json() is True


def test_the_client_leaves(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/pause?a")
        client.reset()
        wait_notes(server, "finally")
        assert resume(server, "a") is False
    assert notes(server) == ["waits a", "finally a"]


def test_its_limit(nginx):
    server = serve(nginx, APP, http="wsgi_suspend_timeout 100ms;")
    assert server.get("/pause?a").status == 504
    assert wait_notes(server, "finally") and resume(server, "a") is False


def test_it_has_not_timed_out(nginx):
    server = serve(nginx, APP)
    client = send(server, "/status")
    assert resume(server, "a") is True
    assert client.read_response().json() == [True, False]
