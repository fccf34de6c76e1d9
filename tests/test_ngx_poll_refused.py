"""ngx.poll, ngx.poll_register and ngx.connection_wrapper: what they refuse."""

import pytest

from harness.waiting import nothing_left, serve

pytestmark = pytest.mark.inline_only

APP = """
    def said(function, *args):
        try:
            function(*args)
        except Exception as error:
            return [type(error).__name__, str(error)]
        return "accepted"

    def at_wrapper(environ, start_response):
        wrap = environ["ngx.connection_wrapper"]
        closed = socket.socket()
        closed.close()
        return answer(start_response, {
            "negative": said(wrap, -1), "text": said(wrap, "0"), "none": said(wrap, None), "float": said(wrap, 1.0),
            "object": said(wrap, object()), "closed": said(wrap, closed)})

    def at_register(environ, start_response):
        end = pair("a")
        conn = environ["ngx.connection_wrapper"](end)
        register, unregister = environ["ngx.poll_register"], environ["ngx.poll_unregister"]
        try:
            return answer(start_response, {
                "number": said(register, end.fileno(), 1), "socket": said(register, end, 1),
                "no flags": said(register, conn, 0), "other flags": said(register, conn, 2),
                "negative": said(register, conn, -1), "too many": said(register, conn, 7),
                "text": said(register, conn, "1"), "none": said(register, conn, None),
                "not registered": said(unregister, conn), "never one": said(unregister, end),
                "again": [said(register, conn, 1), said(register, conn, 4), said(unregister, conn),
                          (said(unregister, conn) or [None])[0]]})
        finally:
            part("a")

    def at_another(environ, start_response):
        # Registered by a request that is over: another one knows nothing of it.
        if "conn" not in resumes:
            resumes["conn"] = environ["ngx.connection_wrapper"](pair("a"))
            environ["ngx.poll_register"](resumes["conn"], 1)
            return answer(start_response, None)
        found = said(environ["ngx.poll_unregister"], resumes.pop("conn"))
        part("a")
        return answer(start_response, found)

    def at_poll(environ, start_response):
        poll = environ["ngx.poll"]
        return answer(start_response, [raised(poll, -1), raised(poll, 1.5), raised(poll, "1"), raised(poll, None),
                                       raised(poll, 0)])

    def at_unwatchable(environ, start_response):
        # A regular file among others; the error may come when it is registered or when it is polled.
        start_response("200 OK", PLAIN)
        end = pair("a")
        pairs["a"][1].send(b"x")
        good = environ["ngx.connection_wrapper"](end)
        environ["ngx.poll_register"](good, 1)
        found = []
        with open(__file__) as file:
            bad = environ["ngx.connection_wrapper"](file)
            try:
                environ["ngx.poll_register"](bad, 1)
                environ["ngx.poll"](20000)
            except PermissionError as error:
                found.append("regular file" in str(error))
            yield b""
            found.append("went on")
            try:
                environ["ngx.poll_unregister"](bad)
            except RuntimeError:
                pass
        state = environ["ngx.poll"](20000)
        yield b""
        found.append(state() == (good, 1))
        part("a")
        yield json.dumps(found).encode()

    def at_closed(environ, start_response):
        # Closed after it was registered: polling says so.
        start_response("200 OK", PLAIN)
        end = pair("a")
        conn = environ["ngx.connection_wrapper"](end)
        environ["ngx.poll_register"](conn, 1)
        part("a")
        found = raised(environ["ngx.poll"], 10)
        yield b""
        yield json.dumps(found).encode()
    """


def test_connection_wrapper(nginx):
    server = serve(nginx, APP)
    found = {name: one[0] for name, one in server.get("/wrapper").json().items()}
    assert {found[name] for name in ("text", "none", "float", "object")} == {"TypeError"}, found
    assert {found[name] for name in ("negative", "closed")} <= {"ValueError", "OSError"}, found


def test_poll_register(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        found = server.get("/register").json()
    again = found.pop("again")
    kinds = {name: one[0] for name, one in found.items()}
    assert {kinds[name] for name in ("number", "socket")} == {"TypeError"}
    assert {kinds[name] for name in ("no flags", "other flags", "negative", "too many")} == {"ValueError"}
    assert {kinds[name] for name in ("text", "none")} <= {"ValueError", "TypeError"}
    assert kinds["not registered"] == "RuntimeError" and kinds["never one"] in ("RuntimeError", "TypeError")
    assert again == ["accepted", "accepted", "accepted", "RuntimeError"]


def test_registrations_belong_to_the_request(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.get("/another").json() is None
        assert server.get("/another").json()[0] == "RuntimeError"


def test_times(nginx):
    server = serve(nginx, APP)
    assert server.get("/poll").json() == ["ValueError", "TypeError", "TypeError", None, None]


def test_one_that_cannot_be_waited_for_among_others(nginx):
    """The error takes nothing along: neither a suspension nor the other connection."""
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.get("/unwatchable").json() == [True, "went on", True]


def test_closed_after_it_was_registered(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.get("/closed").json() in ("OSError", None)
