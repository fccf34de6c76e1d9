"""Calls from where there is no request that could wait: an error that says so, and nothing is hurt."""

import pytest

from harness.apps import notes, wait_notes
from harness.http import Truncated
from harness.waiting import nothing_left, resume, send, serve

KEYS = ["wsgi.pause_output", "x-wsgiorg.suspend", "x-wsgiorg.suspend_status", "x-wsgiorg.fdevent.readable",
        "x-wsgiorg.fdevent.writable", "x-wsgiorg.fdevent.timeout", "x-wsgiorg.flush", "ngx.WSGI_POLLIN",
        "ngx.WSGI_POLLOUT", "ngx.connection_wrapper", "ngx.poll_register", "ngx.poll_unregister", "ngx.poll",
        "ngx.sleep", "ngx.subrequest", "ngx.variable"]
CALLS = """
    def calls(environ):
        # Everything that belongs to the request whose slice runs.
        end = pairs["a"][0] if "a" in pairs else pair("a")
        conn = environ["ngx.connection_wrapper"](end)
        return {
            "pause": lambda: environ["wsgi.pause_output"](),
            "suspend": lambda: environ["x-wsgiorg.suspend"](),
            "time": lambda: environ["x-wsgiorg.suspend"](10),
            "readable": lambda: environ["x-wsgiorg.fdevent.readable"](end),
            "writable": lambda: environ["x-wsgiorg.fdevent.writable"](end, 1.0),
            "flush": lambda: environ["x-wsgiorg.flush"](),
            "register": lambda: environ["ngx.poll_register"](conn, 1),
            "poll": lambda: environ["ngx.poll"](10),
            "sleep": lambda: environ["ngx.sleep"](10),
            "variable": lambda: environ["ngx.variable"]("uri"),
        }

    def names(environ):
        return {name: raised(call) for name, call in calls(environ).items()}

    def messages(environ):
        said = set()
        for call in calls(environ).values():
            try:
                call()
            except RuntimeError as error:
                said.add(str(error))
        return sorted(said)
    """
ALL = dict.fromkeys(["pause", "suspend", "time", "readable", "writable", "flush", "register", "poll", "sleep",
                     "variable"], "RuntimeError")
inline = pytest.mark.inline_only


def test_applications_in_threads_have_none_of_the_keys(nginx):
    """A thread can simply wait."""
    server = serve(nginx, """
        def at_keys(environ, start_response):
            return answer(start_response, sorted(environ))
        """, "location / { wsgi_threads 2; wsgi_pass app.py; }")
    found = server.get("/keys").json()
    assert not set(found) & set(KEYS)
    assert not [key for key in found if key.startswith(("ngx.poll", "ngx.WSGI", "x-wsgiorg.", "wsgi.pause"))]


@inline
def test_applications_in_the_event_loop_have_all_of_them(nginx):
    server = serve(nginx, """
        def at_keys(environ, start_response):
            return answer(start_response, sorted(environ))
        """)
    assert set(KEYS) <= set(server.get("/keys").json())


@inline
def test_an_empty_item_in_a_thread_is_only_that(nginx):
    server = serve(nginx, """
        def at_empty(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b""
            yield b"body"
        """, "location / { wsgi_threads 2; wsgi_suspend_timeout 1s; wsgi_pass app.py; }")
    assert server.get("/empty").body == b"body"


@inline
def test_from_another_thread(nginx):
    server = serve(nginx, CALLS + """
    def at_thread(environ, start_response):
        said = []
        for function in (names, messages):
            thread = threading.Thread(target=lambda: said.append(function(environ)))
            thread.start()
            thread.join()
        part("a")
        return answer(start_response, said)
    """)
    with nothing_left(server):
        found, messages = server.get("/thread").json()
    assert found == ALL
    assert messages and all(len(message) > 30 for message in messages), messages


@inline
def test_while_the_request_is_suspended_and_after_its_end(nginx):
    server = serve(nginx, CALLS + """
    kept = {}

    def at_kept(environ, start_response):
        kept.update(environ)
        return at_wait(environ, start_response)

    def at_late(environ, start_response):
        # In a thread: this slice is one of a request of its own.
        said = []
        thread = threading.Thread(target=lambda: said.append(names(kept)))
        thread.start()
        thread.join()
        part("a")
        return answer(start_response, said[0])
    """)
    client = send(server, "/kept?a")
    assert server.get("/late").json() == ALL
    resume(server, "a")
    assert client.read_response().body == b"done a"
    wait_notes(server, "finally")
    assert server.get("/late").json() == ALL


@inline
def test_with_the_environ_of_another_request(nginx):
    """The request is that of the slice that runs, whosever dict the callable comes from."""
    server = serve(nginx, """
        kept = {}

        def at_keep(environ, start_response):
            kept.update(environ)
            return answer(start_response, None)

        def at_borrow(environ, start_response):
            return at_wait({**kept, "QUERY_STRING": "a"}, start_response)
        """)
    server.get("/keep")
    client = send(server, "/borrow")
    assert resume(server, "a") is True
    assert client.read_response().body == b"done a"


@inline
def test_when_the_application_is_imported(nginx):
    """No slice, no request: at import, from a handler of the loop, at exit."""
    server = serve(nginx, CALLS + """
    import atexit
    import ngx_reactor

    kept = {}

    def at_handler(environ, start_response):
        kept.update(environ)
        atexit.register(lambda: note("atexit", sorted(set(names(kept).values()))))
        ngx_reactor.add_timer(lambda: note("timer", sorted(set(names(kept).values()))), 10)
        ngx_reactor.post(lambda: note("post", sorted(set(names(kept).values()))))
        return answer(start_response, None)

    def at_part(environ, start_response):
        part("a")
        return answer(start_response, None)
    """)
    server.get("/handler")
    assert wait_notes(server, "timer") == ["timer ['RuntimeError']"]
    assert wait_notes(server, "post") == ["post ['RuntimeError']"]
    server.get("/part")
    server.stop()
    assert notes(server, "atexit") == ["atexit ['RuntimeError']"]


@inline
def test_in_close(nginx):
    """The response is complete: whatever it says, nothing waits."""
    server = serve(nginx, CALLS + """
    def at_close(environ, start_response):
        class Closing(Body):
            def close(self):
                found = names(environ)
                part("a")
                note("close", sorted(set(map(str, found.values()))))
        start_response("200 OK", PLAIN)
        return Closing(b"body")
    """)
    with nothing_left(server):
        for _ in range(3):
            assert server.get("/close").body == b"body"
        wait_notes(server, "close", 3)
        with pytest.raises(Truncated):
            client = send(server, "/began?x")
            client.shutdown_write()
            client.read_response()


@inline
def test_in_a_destructor_of_a_block(nginx):
    """nginx is done with a block: it may be in a slice of another request, or in none."""
    server = serve(nginx, CALLS + """
    class Block(bytes):
        def __del__(self):
            note("del", sorted(set(map(str, names(self.environ).values()))))
            part("a")

    def at_del(environ, start_response):
        start_response("200 OK", PLAIN)
        block = Block(b"a" * 600)
        block.environ = environ
        yield block
        del block
        yield b"b" * 600
    """)
    with nothing_left(server):
        assert len(server.get("/del").body) == 1200
        wait_notes(server, "del")


@inline
def test_wrong_arguments(nginx):
    server = serve(nginx, """
        def at_wrong(environ, start_response):
            return answer(start_response, [
                raised(environ["wsgi.pause_output"], 1), raised(environ["x-wsgiorg.flush"], 1),
                raised(environ["x-wsgiorg.fdevent.readable"]), raised(environ["x-wsgiorg.fdevent.readable"], 0, 1, 2),
                raised(environ["x-wsgiorg.fdevent.writable"]), raised(environ["ngx.poll"], 1, 2),
                raised(environ["ngx.poll_register"], 1), raised(environ["ngx.poll_unregister"]),
                raised(environ["ngx.connection_wrapper"]), raised(environ["ngx.sleep"]),
                raised(environ["ngx.sleep"], "1"), raised(environ["ngx.poll"], "1")])
        """)
    with nothing_left(server):
        assert server.get("/wrong").json() == ["TypeError"] * 12


@inline
def test_resume_takes_no_argument(nginx):
    server = serve(nginx, """
        def at_argument(environ, start_response):
            resume = environ["x-wsgiorg.suspend"]()
            return answer(start_response, [raised(resume, 1), resume()])
        """)
    assert server.get("/argument").json() == ["TypeError", True]
