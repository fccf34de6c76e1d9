"""wsgi_suspend_timeout: the longest suspension; values, levels, and what happens at its end."""

import re

import pytest

from harness.apps import notes, settled, wait_notes
from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count
from harness.http import Truncated
from harness.waiting import nothing_left, resume, send, serve

NAME = "wsgi_suspend_timeout"
LINE = (r'\[error\].*wsgi: application "\S+/app\.py" was suspended for longer than {} \(wsgi_suspend_timeout\)'
        r'.*request: "GET {} HTTP/1\.1"')
APP = """
    def at_own(environ, start_response):
        # Its own time, in milliseconds.
        start_response("200 OK", PLAIN)
        try:
            begun = time.monotonic()
            resumes["a"] = environ["x-wsgiorg.suspend"](int(environ["QUERY_STRING"]))
            yield b""
            yield json.dumps([bool(environ["x-wsgiorg.suspend_status"]), time.monotonic() - begun]).encode()
        finally:
            note("finally")

    def at_readable_own(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            yield environ["x-wsgiorg.fdevent.readable"](pair("a"), float(environ["QUERY_STRING"]))
            yield json.dumps(bool(environ["x-wsgiorg.fdevent.timeout"])).encode()
        finally:
            part("a")
            note("finally")

    def at_steps(environ, start_response):
        # Each suspension has the whole time.
        start_response("200 OK", PLAIN)
        for number in range(4):
            environ["x-wsgiorg.suspend"](300)
            yield b""
        yield b"steps"

    def at_close(environ, start_response):
        start_response("200 OK", PLAIN)
        def ask():
            resumes["a"] = environ["x-wsgiorg.suspend"]()
            return b""
        return Body(ask, b"never")
    """
inline = pytest.mark.inline_only


@inline
def test_504(nginx):
    server = serve(nginx, APP, http=f"{NAME} 200ms;")
    with nothing_left(server):
        assert server.get("/close").status == 504
        assert wait_notes(server, "close") == ["close body"]
        assert resume(server, "a") is False
    assert notes(server) == ["close body"]
    assert len(server.log_lines(LINE.format(r"\S+( m?s)?", "/close"))) == 1, server.tail()
    assert not server.log_lines("Traceback")


@inline
@pytest.mark.parametrize("http2", [False, True])
def test_after_the_head_the_answer_is_cut_short(nginx, http2):
    server = serve(nginx, APP, http=f"{NAME} 200ms;", h2c=True)
    with nothing_left(server):
        if http2:
            client = server.h2()
            stream = client.request("GET", "/began?a")
            assert (stream.status, stream.body, stream.reset is not None) == (200, b"first ", True)
            client.close()
        else:
            with pytest.raises(Truncated) as caught:
                server.get("/began?a")
            assert caught.value.response.body == b"first "
        wait_notes(server, "finally")
        assert resume(server, "a") is False
    server.wait_for_log(r"\(wsgi_suspend_timeout\)")
    assert notes(server) == ["waits a", "finally a"]


@inline
def test_the_line_says_how_long_it_may_be(nginx):
    server = serve(nginx, APP, http=f"{NAME} 1s;")
    assert server.get("/wait?a").status == 504
    server.wait_for_log(LINE.format("1 s", r"/wait\?a"))


@inline
def test_an_error_page_for_it(nginx):
    server = serve(nginx, APP, f"""
        location / {{ {NAME} 100ms; wsgi_pass app.py; error_page 504 /hello; }}
        location /hello {{ return 200 "the page"; }}""")
    found = server.get("/close")
    assert (found.status, found.body) == (504, b"the page")
    wait_notes(server, "close")


@inline
def test_the_connection_is_kept(nginx):
    server = serve(nginx, APP, http=f"{NAME} 100ms;")
    client = server.connect()
    assert client.request("GET", "/close").status == 504
    assert client.request("GET", "/hello").body == b"hello"


@inline
def test_an_own_time_that_is_shorter(nginx):
    server = serve(nginx, APP, http=f"{NAME} 10s;")
    timed_out, seconds = server.get("/own?100").json()
    assert timed_out is True and 0.09 < seconds < 10
    assert server.get("/readable_own?0.1").json() is True
    assert not server.log_lines(NAME)


@inline
@pytest.mark.parametrize("target", ["/own?20000", "/readable_own?20"])
def test_an_own_time_that_is_longer(nginx, target):
    server = serve(nginx, APP, http=f"{NAME} 200ms;")
    with nothing_left(server):
        assert server.get(target).status == 504
        wait_notes(server, "finally")
    server.wait_for_log(r"\(wsgi_suspend_timeout\)")


@inline
def test_each_suspension_counts_for_itself(nginx):
    server = serve(nginx, APP, http=f"{NAME} 900ms;")
    assert server.get("/steps").body == b"steps"


@inline
def test_a_slow_client_is_not_suspended(nginx):
    """Waiting for the client has its own limit, send_timeout."""
    server = serve(nginx, """
        def at_big(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"x" * 8_000_000
            note("sent")
            environ["x-wsgiorg.suspend"](50)
            yield b""
            yield b"end"
        """, http=f"{NAME} 200ms;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    head = client.read_head()
    assert settled(lambda: notes(server), quiet=0.6) == []
    client.read_body(head)
    assert head.body.endswith(b"xend")


@inline
def test_only_the_suspended_one_is_hit(nginx):
    server = serve(nginx, APP, f"location / {{ wsgi_pass app.py; }} location /close {{ {NAME} 200ms; wsgi_pass app.py; "
                               'wsgi_script_name ""; }')
    client = send(server, "/wait?b")
    assert server.get("/close").status == 504
    assert resume(server, "b") is True
    assert client.read_response().body == b"done b"


@inline
def test_levels(nginx):
    """The inner one counts; nothing said is inherited."""
    server = serve(nginx, APP, f"""
        {NAME} 20s;
        location /wait {{ wsgi_pass app.py; wsgi_script_name ""; }}
        location /own {{ {NAME} 100ms; wsgi_pass app.py; wsgi_script_name ""; }}
        location / {{ wsgi_pass app.py; }}
        """, http=f"{NAME} 30ms;")
    client = send(server, "/wait?outer")
    assert server.get("/own?10000").status == 504
    assert server.get("/own?10").json()[0] is True
    assert resume(server, "outer") is True
    assert client.read_response().body == b"done outer"


@inline
def test_many_at_the_same_time(nginx):
    server = serve(nginx, APP, http=f"{NAME} 400ms;")
    with nothing_left(server):
        clients = [server.connect() for _ in range(40)]
        for number, client in enumerate(clients):
            client.send_request("GET", f"/wait?{number}" if number % 2 else f"/readable?{number}")
        assert {client.read_response().status for client in clients} == {504}
        for client in clients:
            client.close()
        assert len(set(wait_notes(server, "finally", 40))) == 40
    assert len(server.log_lines(r"\(wsgi_suspend_timeout\)")) == 40


@inline
def test_in_a_part_of_a_page(nginx):
    server = serve(nginx, """
        def at_page(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            return [b'[<!--#include virtual="/wait?a" -->]']
        """, f"location / {{ ssi on; {NAME} 200ms; wsgi_pass app.py; }}")
    with nothing_left(server):
        found = server.get("/page")
        assert found.status == 200 and found.body.startswith(b"[") and found.body.endswith(b"]")
        wait_notes(server, "finally a")


@inline
def test_the_application_goes_on_at_its_limit(nginx):
    """Times that are nearly the same: either is right, both at once would not be."""
    server = serve(nginx, APP, http=f"{NAME} 100ms;")
    with nothing_left(server):
        for milliseconds in (98, 99, 100, 101, 102):
            assert server.get(f"/own?{milliseconds}").status in (200, 504)
    assert len(notes(server, "finally")) == 5


@pytest.mark.parametrize("value", ["300ms", "30s", "2m", "5", "1h"])
def test_accepted(nginx, app, value):
    app("")
    text = f"{NAME} {value};"
    accepts(nginx(f"{text} location / {{ {text} wsgi_pass app.py; }}", http=text, start=False))


@pytest.mark.parametrize("value", ["soon", "-1", '""', "1x", "off", "$time"])
def test_refused(nginx, value):
    text = f"{NAME} {value};"
    refuses(nginx(f"\n{text}\n", start=False), text, re.compile(".+"))


@pytest.mark.parametrize("value", ["0", "0s", "0ms"])
def test_there_is_always_a_limit(nginx, value):
    """A worker that quits waits for timers only."""
    text = f"{NAME} {value};"
    said = refuses(nginx(f"\n{text}\n", start=False), text, re.compile(".+"))
    assert NAME in said


def test_duplicates_levels_and_arguments(nginx):
    refuses(nginx(f"{NAME} 1s;\n{NAME} 2s;", start=False), f"{NAME} 2s;", duplicate(NAME))
    refuses(nginx(main=f"{NAME} 1s;", start=False), NAME, not_allowed(NAME))
    refuses(nginx(f"\n{NAME};\n", start=False), NAME, wrong_count(NAME))
    refuses(nginx(f"\n{NAME} 1s 2s;\n", start=False), NAME, wrong_count(NAME))
