"""ngx_reactor: wrong arguments, and calls from where there is no event loop."""

import pytest

from harness.apps import notes, serve as serve_plain, wait_notes
from harness.conf import accepts
from harness.reactor import ask, serve
from harness.waiting import nothing_left

pytestmark = pytest.mark.once

inline = pytest.mark.inline_only
APP = """
    def at_events(environ, start_response):
        handler, end = (lambda found: None), pair("a")
        made = create_event(end, handler)
        with open(__file__) as file:
            number = os.dup(0)
            os.close(number)
            said = {
                "no handler": raised(create_event, end), "handler": raised(create_event, end, None),
                "text": raised(create_event, "0", handler), "none": raised(create_event, None, handler),
                "file": raised(lambda: add_event(create_event(file, handler), NGX_READ_EVENT)),
                "closed": raised(lambda: add_event(create_event(number, handler), NGX_READ_EVENT)),
                "negative": raised(lambda: add_event(create_event(-1, handler), NGX_READ_EVENT)),
                "no flags": raised(add_event, made, 0), "other flags": raised(add_event, made, 2),
                "many flags": raised(add_event, made, 255), "huge flags": raised(add_event, made, 2 ** 40),
                "negative flags": raised(add_event, made, -1), "text flags": raised(add_event, made, "1"),
                "no event": raised(add_event, end, 1), "del no event": raised(del_event, end),
                "not added": raised(del_event, made),
            }
        said["still"] = [made.active, raised(add_event, made, NGX_READ_EVENT), made.active,
                         raised(del_event, made, NGX_WRITE_EVENT), made.active, raised(del_event, made), made.active]
        part("a")
        return answer(start_response, said)

    def at_no_connections(environ, start_response):
        made, said = [], None
        try:
            for number in range(100):
                made.append(event(number, lambda found: None))
        except OSError as error:
            said = str(error)
        count = len(made)
        for name in list(events):
            quiet(name)
        return answer(start_response, [count, said])

    def at_threads(environ, start_response):
        # From another thread of the application.
        said = {}
        made = event("a", lambda found: None)
        timer = add_timer(lambda: note("timer"), 20)
        handler = lambda *args: None
        def run():
            said.update(create=raised(create_event, pairs["a"][0], handler), delete=raised(del_event, made),
                        add=raised(add_event, made, NGX_WRITE_EVENT), timer=raised(add_timer, handler, 10),
                        del_timer=raised(del_timer, timer), post=raised(post, lambda: note("posted")))
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        said["active"] = made.active
        quiet("a")
        return answer(start_response, said)
    """
IN_THREADS = """
    import ngx_reactor
    import socket
    import threading

    IMPORTED_IN = threading.current_thread().name

    def at_use(environ, start_response):
        ends = socket.socketpair()
        handler = lambda *args: note("handler", threading.current_thread() is threading.main_thread())
        def add():
            made = ngx_reactor.create_event(ends[0], handler)
            ngx_reactor.add_event(made, ngx_reactor.NGX_READ_EVENT)
        said = [raised(add), raised(ngx_reactor.add_timer, handler, 10), raised(ngx_reactor.post, handler)]
        for end in ends:
            end.close()
        return answer(start_response, said)
    """


@inline
def test_arguments(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        found = ask(server, "/events")
    still = found.pop("still")
    for name in ("no handler", "handler", "none", "text", "text flags"):
        assert found[name] in ("TypeError", "AttributeError"), (name, found)
    assert found["file"] == "PermissionError" and found["closed"] == "OSError"
    assert found["negative"] in ("OSError", "ValueError")
    for name in ("no flags", "other flags", "many flags", "huge flags", "negative flags"):
        assert found[name] in ("ValueError", "OverflowError"), (name, found)
    assert found["no event"] in ("TypeError", "AttributeError")
    assert found["del no event"] in ("TypeError", "AttributeError")
    assert found["not added"] == "RuntimeError"
    assert still == [0, None, 1, "RuntimeError", 1, None, 0]


@inline
def test_no_connections_left(nginx):
    server = serve(nginx, APP, connections=40)
    with nothing_left(server):
        for _ in range(3):
            count, said = ask(server, "/no_connections")
            assert 10 < count < 40 and '"worker_connections" are not enough' in said


@inline
def test_in_a_thread_of_an_inline_application(nginx):
    """Only post() is for all threads."""
    server = serve(nginx, APP)
    with nothing_left(server):
        found = ask(server, "/threads")
        assert found.pop("create") in (None, "RuntimeError")
        assert found == {"add": "RuntimeError", "delete": "RuntimeError", "timer": "RuntimeError",
                         "del_timer": "RuntimeError", "post": None, "active": 1}
        wait_notes(server, "posted")
        wait_notes(server, "timer")


@inline
def test_in_an_application_with_threads(nginx):
    server = serve_plain(nginx, IN_THREADS, "location / { wsgi_threads 2; wsgi_pass app.py; }")
    assert server.get("/use").json() == ["RuntimeError", "RuntimeError", None]
    assert wait_notes(server, "handler") == ["handler True"]


@inline
def test_the_message(nginx):
    server = serve_plain(nginx, """
        import ngx_reactor

        def at_use(environ, start_response):
            try:
                ngx_reactor.add_timer(print, 10)
            except RuntimeError as error:
                return answer(start_response, str(error))
        """, "location / { wsgi_threads 2; wsgi_pass app.py; }")
    assert "post" in server.get("/use").json()


def test_preflight(nginx):
    """The child that imports has no event loop; a script that only imports the module is fine."""
    server = serve_plain(nginx, """
        import ngx_reactor
        from ngx_reactor import NGX_READ_EVENT, NGX_WRITE_EVENT, create_event, add_timer, post

        def at_hello(environ, start_response):
            return answer(start_response, [NGX_READ_EVENT, NGX_WRITE_EVENT])
        """, http="wsgi_preflight on;", start=False)
    accepts(server)
    server.start()
    assert server.get("/hello").json() == [1, 4]


@pytest.mark.parametrize("use", ["add_timer(print, 10)", "post(print)",
                                 "add_event(ngx_reactor.create_event(0, print), 1)"])
def test_use_in_preflight(nginx, use):
    server = serve_plain(nginx, f"""
        import ngx_reactor
        note("raised", raised(lambda: ngx_reactor.{use}))
        """, http="wsgi_preflight on;", start=False)
    accepts(server)
    assert notes(server) == ["raised RuntimeError"]
    accepted, output = server.test_config(http="wsgi_preflight on;")
    assert accepted, output


def test_an_import_that_fails_for_it_refuses_the_configuration(nginx):
    server = serve_plain(nginx, """
        import ngx_reactor
        ngx_reactor.add_timer(print, 10)
        """, http="wsgi_preflight on;", start=False)
    accepted, output = server.test_config()
    assert not accepted and "RuntimeError" in output


@inline
def test_at_import_in_a_worker(nginx):
    """Modules are imported in nginx's thread: they may begin with something."""
    server = serve(nginx, """
        add_timer(lambda: note("timer"), 10)
        post(lambda: note("post"))

        def _readable(found):
            note("event")
            del_event(found)

        event("a", _readable)
        pairs["a"][1].send(b"x")
        """)
    server.get("/hello")
    for name in ("timer", "post", "event"):
        wait_notes(server, name)
    server.check_fds = False
