"""A suspension that was asked for, but no empty item follows: nothing happens, and nothing is left."""

import pytest

from harness.apps import notes, wait_notes
from harness.waiting import nothing_left, resume, serve

pytestmark = pytest.mark.inline_only

APP = """
    ASKS = {
        "suspend": lambda environ, end: resumes.update(a=environ["x-wsgiorg.suspend"]()),
        "time": lambda environ, end: resumes.update(a=environ["x-wsgiorg.suspend"](50)),
        "pause": lambda environ, end: resumes.update(a=environ["wsgi.pause_output"]()),
        "readable": lambda environ, end: environ["x-wsgiorg.fdevent.readable"](end),
        "writable": lambda environ, end: environ["x-wsgiorg.fdevent.writable"](end, 0.05),
        "poll": lambda environ, end: environ["ngx.poll"](50),
        "register": lambda environ, end: (
            environ["ngx.poll_register"](environ["ngx.connection_wrapper"](end), 1), environ["ngx.poll"]()),
        "sleep": lambda environ, end: environ["ngx.sleep"](20),
    }

    def ask(environ):
        end = pair("a")
        ASKS[environ["QUERY_STRING"]](environ, end)
        part("a") if environ["QUERY_STRING"] != "readable" else None

    def at_list(environ, start_response):
        ask(environ)
        return answer(start_response, b"list")

    def at_tuple(environ, start_response):
        ask(environ)
        start_response("200 OK", PLAIN)
        return (b"tu", b"", b"ple")

    def at_blocks(environ, start_response):
        ask(environ)
        start_response("200 OK", PLAIN)
        return Body(b"blo", b"cks")

    def at_nothing(environ, start_response):
        ask(environ)
        start_response("200 OK", PLAIN)
        return Body()

    def at_file(environ, start_response):
        ask(environ)
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](open(os.path.join(HERE, "file"), "rb"))

    def at_fails(environ, start_response):
        ask(environ)
        raise ValueError("after the call")

    def at_parted(environ, start_response):
        part("a")
        return answer(start_response, b"parted")
    """
BODIES = {"list": b"list", "tuple": b"tuple", "blocks": b"blocks", "nothing": b"", "file": b"file"}


@pytest.mark.parametrize("how", ["suspend", "time", "pause", "readable", "writable", "poll", "register", "sleep"])
def test_whatever_was_asked_for(nginx, how):
    server = serve(nginx, APP)
    (server.folder / "file").write_text("file")
    with nothing_left(server):
        for name, body in BODIES.items():
            client = server.connect()
            for _ in range(2):
                found = client.request("GET", f"/{name}?{how}")
                assert (found.status, found.body) == (200, body), f"{name} {how}\n{server.tail()}"
                server.get("/parted") if how == "readable" else None
            client.close()
        assert server.get(f"/fails?{how}").status == 500
        server.get("/parted") if how == "readable" else None
    assert len(server.log_lines("raised ValueError: after the call")) == 1


def test_resume_says_no_afterwards(nginx):
    server = serve(nginx, APP)
    for name in BODIES:
        (server.folder / "file").write_text("file")
        server.get(f"/{name}?suspend")
        assert resume(server, "a") is False


def test_a_bare_empty_item_suspends_nothing(nginx):
    server = serve(nginx, """
        def at_empty(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(b"", b"one", b"", b"", b"two", b"")
        """)
    assert server.get("/empty").body == b"onetwo"
    wait_notes(server, "close")
    assert notes(server) == ["end body", "close body"]
