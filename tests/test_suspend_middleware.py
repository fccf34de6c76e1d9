"""Suspension through middleware, wsgiref.validate, and the other protocol."""

import pytest

from harness.apps import PRELUDE, notes, wait_notes
from harness.waiting import nothing_left, resume, send, serve, suspended

pytestmark = pytest.mark.inline_only

ALL = """
    from wsgiref.validate import validator

    def every_way(environ, start_response):
        # One after the other, everything that an application may wait for.
        end = pair("a")
        note("waits")
        try:
            environ["x-wsgiorg.suspend"](20)
            yield b""
            threading.Timer(0.02, environ["wsgi.pause_output"]()).start()
            yield b""
            pairs["a"][1].send(b"x")
            yield environ["x-wsgiorg.fdevent.readable"](end)
            yield environ["x-wsgiorg.fdevent.writable"](end, 5.0)
            yield environ["x-wsgiorg.fdevent.readable"](pairs["a"][1], 0.02)
            timed_out = bool(environ["x-wsgiorg.fdevent.timeout"])
            conn = environ["ngx.connection_wrapper"](end.fileno())
            environ["ngx.poll_register"](conn, environ["ngx.WSGI_POLLIN"])
            state = environ["ngx.poll"](5000)
            yield b""
            found = state()
            environ["ngx.poll_unregister"](conn)
            yield environ["ngx.sleep"](20)
            start_response("200 OK", PLAIN)
            yield b"one "
            environ["x-wsgiorg.flush"]()
            yield b""
            yield json.dumps([timed_out, found[0] is conn, found[1]]).encode()
        finally:
            part("a")
            note("finally")

    def started(environ, start_response):
        # The validator wants start_response to be called before the first item is there.
        start_response("200 OK", PLAIN)
        return waiting(environ, "a")
    """
ANSWER = b"one [true, true, 1]"


def test_every_way(nginx):
    server = serve(nginx, ALL + """
    at_all = every_way
    """)
    with nothing_left(server):
        found = server.get("/all")
        assert (found.status, found.body) == (200, ANSWER), server.tail()


@pytest.mark.parametrize("http", ["1.1", "1.0", "2", "tls"])
def test_validated(nginx, http):
    server = serve(nginx, ALL + """
    def early(environ, start_response):
        start_response("200 OK", PLAIN)
        return every_way(environ, lambda *args: None)

    at_all, at_wait = validator(early), validator(started)
    """, tls=True, h2c=True)
    with nothing_left(server):
        if http == "2":
            client = server.h2()
            assert client.request("GET", "/all").body == ANSWER, server.tail()
            client.close()
        else:
            found = server.get("/all", **({"tls": True} if http == "tls" else {"version": http}))
            assert (found.status, found.body) == (200, ANSWER), server.tail()
        client = send(server, "/wait")
        assert resume(server, "a") is True
        assert client.read_response().body == b"done a"
        client.close()
    server.stop()
    assert not server.log_lines(r"AssertionError|WSGIWarning|Iterator garbage collected|Traceback")


def test_middleware_that_passes_empty_items_on(nginx):
    server = serve(nginx, ALL + """
    def upper(app):
        def wrapped(environ, start_response):
            def started(status, headers, *more):
                return start_response(status, [*headers, ("X-Through", "yes")], *more)
            blocks = app(environ, started)
            try:
                for block in blocks:
                    yield block.upper()
            finally:
                blocks.close()
                note("middleware closed")
        return wrapped

    at_all, at_wait = upper(validator(started)), upper(upper(started))
    """)
    with nothing_left(server):
        for target in ("/all", "/wait"):
            client = send(server, target)
            assert resume(server, "a") is True
            found = client.read_response()
            assert (found.all("X-Through"), found.body) == (["yes"] * (1 + (target == "/wait")), b"DONE A")
            client.close()
        client = send(server, "/wait")
        client.reset()
        wait_notes(server, "middleware closed", 5)


def test_by_the_directive(nginx):
    server = serve(nginx, "", "location / { wsgi_middleware middle middleware; wsgi_pass app.py; }",
                   http="wsgi_python_path %%FOLDER%%;", apps={"middle.py": PRELUDE + """
def middleware(app):
    def wrapped(environ, start_response):
        try:
            yield from app(environ, start_response)
        finally:
            note("closed outside")
    return wrapped
"""})
    client = send(server, "/wait?a")
    assert resume(server, "a") is True
    assert client.read_response().body == b"done a"
    wait_notes(server, "closed outside")


def test_middleware_that_swallows_empty_items(nginx):
    """It breaks a rule of PEP 3333, and so the application does not wait: it goes on at once."""
    server = serve(nginx, """
        def swallow(app):
            def wrapped(environ, start_response):
                return (block for block in app(environ, start_response) if block)
            return wrapped

        at_swallowed = swallow(at_wait)
        """)
    with nothing_left(server):
        assert server.get("/swallowed?a").body == b"done a"
        assert resume(server, "a") is False
    assert notes(server) == ["waits a", "goes on a", "finally a"]


def test_middleware_that_collects(nginx):
    server = serve(nginx, """
        def at_collected(environ, start_response):
            return [b"".join(at_wait(environ, start_response))]
        """)
    with nothing_left(server):
        assert server.get("/collected?a").body == b"done a"
        assert resume(server, "a") is False


def test_middleware_may_suspend_for_its_application(nginx):
    """Its own empty item is as good as one of the application."""
    server = serve(nginx, """
        def at_outer(environ, start_response):
            resumes["outer"] = environ["x-wsgiorg.suspend"]()
            note("waits outer")
            yield b""
            yield from at_wait(environ, start_response)
        """)
    client = send(server, "/outer?inner")
    assert resume(server, "outer") is True
    suspended(server, 2)
    assert resume(server, "inner") is True
    assert client.read_response().body == b"done inner"


def test_wsgi2(nginx):
    """The status is there before the application waits, so only its body can."""
    server = serve(nginx, """
        wsgi1 = application

        def application(environ, start_response=None):
            if environ["PATH_INFO"] == "/two":
                return "200 OK", PLAIN, waiting(environ, "a")
            if environ["PATH_INFO"] == "/called":
                resumes["a"] = environ["x-wsgiorg.suspend"]()
                note("waits")
                return "200 OK", PLAIN, iter([b"first ", b"", b"last"])
            head = []
            def started(*args):
                head.extend(args[:2])
            body = wsgi1(environ, started)
            return *head, body
        """, "location / { wsgi_protocol wsgi2; wsgi_pass app.py; }")
    with nothing_left(server):
        for target, body in (("/two", b"done a"), ("/called", b"first last")):
            client = send(server, target)
            assert resume(server, "a") is True
            assert client.read_response().body == body
            client.close()


def test_environ_is_a_copy(nginx):
    """Middleware may give its application another dict: the keys work from there."""
    server = serve(nginx, """
        def at_copied(environ, start_response):
            return at_wait(dict(environ), start_response)
        """)
    client = send(server, "/copied?a")
    assert resume(server, "a") is True
    assert client.read_response().body == b"done a"


def test_the_callables_are_the_same_for_all_requests(nginx):
    """They belong to the interpreter, the request is found by the slice that runs."""
    server = serve(nginx, """
        KEYS = ["wsgi.pause_output", "x-wsgiorg.suspend", "x-wsgiorg.suspend_status", "x-wsgiorg.fdevent.readable",
                "x-wsgiorg.fdevent.writable", "x-wsgiorg.fdevent.timeout", "x-wsgiorg.flush", "ngx.connection_wrapper",
                "ngx.poll_register", "ngx.poll_unregister", "ngx.poll", "ngx.sleep", "ngx.subrequest", "ngx.variable"]
        kept = {}

        def at_keys(environ, start_response):
            same = not kept or all(environ[key] is kept[key] for key in KEYS)
            kept.update(environ)
            return answer(start_response, [same, environ["x-wsgiorg.suspend_status"]
                                           is environ["x-wsgiorg.fdevent.timeout"],
                                           environ["ngx.WSGI_POLLIN"], environ["ngx.WSGI_POLLOUT"]])
        """)
    for _ in range(3):
        assert server.get("/keys").json() == [True, True, 1, 4]
