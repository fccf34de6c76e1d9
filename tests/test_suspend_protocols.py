"""Suspended requests over every protocol that nginx speaks, and what follows on the same connection."""

import pytest

from harness.apps import notes, wait_notes
from harness.waiting import nothing_left, resume, send, serve, suspended

pytestmark = pytest.mark.inline_only

APP = """
    def at_sleep(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.suspend"](int(environ["QUERY_STRING"]))
        yield b""
        yield environ["PATH_INFO"].encode()

    def at_post(environ, start_response):
        # A part of the body before, the rest afterwards.
        start_response("200 OK", PLAIN)
        first = environ["wsgi.input"].read(4)
        yield from waiting(environ, "a")
        yield first + b"|" + environ["wsgi.input"].read()

    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/wait?a" -->|<!--#include virtual="/wait?b" -->|'
                b'<!--#include virtual="/wait?c" -->]']

    def at_waiting_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        yield b'[<!--#include virtual="/wait?a" -->'
        yield from waiting(environ, "page")
        yield b"]"
    """


@pytest.mark.parametrize("where", [{}, {"tls": True}, {"unix": True}, {"ipv6": True}])
@pytest.mark.parametrize("target, body", [("/wait?a", b"done a"), ("/began?a", b"first done a")])
def test_over(nginx, where, target, body):
    server = serve(nginx, APP, tls=True, unix=True, ipv6=True)
    with nothing_left(server):
        client = send(server, target, **where)
        assert resume(server, "a") is True
        assert client.read_response().body == body
        # The connection is as good as new.
        client.send_request("GET", "/wait?b")
        suspended(server, 2)
        assert resume(server, "b") is True
        assert client.read_response().body == b"done b"
        assert client.request("GET", "/hello").body == b"hello"
        client.close()


@pytest.mark.parametrize("headers", [(), [("Connection", "keep-alive")]])
def test_http_1_0(nginx, headers):
    server = serve(nginx, APP)
    client = server.connect()
    client.send_request("GET", "/began?a", headers, version="1.0")
    suspended(server)
    assert resume(server, "a") is True
    assert client.read_response().body == b"first done a"


def test_pipelined(nginx):
    """The second request is begun when the first is answered, the third when the second is."""
    server = serve(nginx, APP)
    client = server.connect()
    request = b"GET /wait?%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client.send(request % b"a" + request % b"b" + b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for number, name in enumerate("ab", 1):
        suspended(server, number)
        assert len(notes(server, "waits")) == number
        assert resume(server, name) is True
        assert client.read_response().body == b"done " + name.encode()
    assert client.read_response().body == b"hello"


def test_a_request_that_comes_while_one_is_suspended(nginx):
    server = serve(nginx, APP)
    client = send(server, "/wait?a")
    client.send_request("GET", "/hello")
    assert server.get("/hello").body == b"hello"
    assert resume(server, "a") is True
    assert client.read_response().body == b"done a"
    assert client.read_response().body == b"hello"


@pytest.mark.parametrize("tls", [False, True])
def test_many_streams_on_one_http2_connection(nginx, tls):
    server = serve(nginx, APP, tls=True, h2c=True)
    client = server.h2(tls=tls)
    streams = {name: client.send_request("GET", f"/{how}?{name}")
               for number in range(50) for how, name in [("wait" if number % 2 else "began", f"n{number}")]}
    suspended(server, 50)
    # A request on the same connection overtakes them all.
    assert client.request("GET", "/hello").body == b"hello"
    for name in reversed(streams):
        assert resume(server, name) is True
    client.finish(*streams.values())
    for name, stream in streams.items():
        assert stream.complete and stream.body.endswith(b"done " + name.encode())


def test_reset_of_one_http2_stream(nginx):
    server = serve(nginx, APP, h2c=True)
    with nothing_left(server):
        client = server.h2()
        streams = [client.send_request("GET", f"/wait?{name}") for name in "abc"]
        suspended(server, 3)
        client.reset(streams[1])
        assert wait_notes(server, "finally") == ["finally b"]
        assert [resume(server, name) for name in "abc"] == [True, False, True]
        client.finish(streams[0], streams[2])
        assert (streams[0].body, streams[2].body) == (b"done a", b"done c")
        assert client.request("GET", "/hello").body == b"hello"
        client.close()
    assert sorted(notes(server, "finally")) == ["finally a", "finally b", "finally c"]


@pytest.mark.vendored_only
def test_http3(nginx):
    server = serve(nginx, APP, h3=True, check_connections=False)
    answers = server.h3(*[("GET", f"/sleep/{number}?{number * 20}") for number in range(20)])
    assert [bytes(answer.body) for answer in answers] == [b"/sleep/%d" % number for number in range(20)]


@pytest.mark.parametrize("http", ["1.1", "tls", "2"])
def test_a_body_is_read_before_and_after(nginx, http):
    server = serve(nginx, APP, tls=True, h2c=True)
    if http == "2":
        client = server.h2()
        stream = client.send_request("POST", "/post", body=b"body" + b"x" * 100_000)
    else:
        client = server.connect(tls=http == "tls")
        client.send_request("POST", "/post", body=b"body" + b"x" * 100_000)
    suspended(server)
    assert resume(server, "a") is True
    found = client.finish(stream) if http == "2" else client.read_response()
    assert found.body == b"done a" + b"body|" + b"x" * 100_000


def test_a_body_in_a_file(nginx):
    server = serve(nginx, APP, "location / { client_body_buffer_size 1k; wsgi_pass app.py; }")
    with nothing_left(server):
        client = server.connect()
        client.send_request("POST", "/post", body=b"body" + b"x" * 500_000)
        suspended(server)
        assert resume(server, "a") is True
        assert client.read_response().body == b"done a" + b"body|" + b"x" * 500_000
        client.close()


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
@pytest.mark.parametrize("http", ["1.1", "2"])
def test_parts_of_a_page(nginx, order, http):
    """The includes run side by side; the page has them in its own order."""
    server = serve(nginx, APP, "location / { ssi on; wsgi_pass app.py; }", h2c=True)
    with nothing_left(server):
        if http == "2":
            client = server.h2()
            stream = client.send_request("GET", "/page")
        else:
            client = server.connect()
            client.send_request("GET", "/page")
        suspended(server, 3)
        for name in order:
            assert resume(server, name) is True
        found = client.finish(stream) if http == "2" else client.read_response()
        assert found.body == b"[done a|done b|done c]"
        client.close()


def test_a_part_and_its_page(nginx):
    server = serve(nginx, APP, "location / { ssi on; wsgi_pass app.py; }")
    client = server.connect()
    client.send_request("GET", "/waiting_page")
    suspended(server)
    # The page itself goes on when its part is with the client.
    assert notes(server, "waits") == ["waits a"]
    assert resume(server, "a") is True
    suspended(server, 2)
    assert resume(server, "page") is True
    assert client.read_response().body == b"[done adone page]"


def test_a_part_is_resumed_as_the_one_before_it_ends(nginx):
    """Both reasons to go on come in one turn of the event loop; what it waits for next has its own time."""
    server = serve(nginx, APP + """
    def at_first(environ, start_response):
        start_response("200 OK", PLAIN)
        yield environ["x-wsgiorg.fdevent.writable"](pair("a"))
        part("a")
        yield b"first"

    def at_second(environ, start_response):
        start_response("200 OK", PLAIN)
        yield environ["x-wsgiorg.fdevent.writable"](pair("b"))
        part("b")
        for _ in range(3):
            yield environ["ngx.sleep"](5)
        yield b"second"

    def at_both(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/first" -->|<!--#include virtual="/second" -->]']
    """, "location / { ssi on; wsgi_suspend_timeout 5s; wsgi_pass app.py; }")
    with nothing_left(server):
        for _ in range(5):
            assert server.get("/both").body == b"[first|second]"


def test_the_client_of_a_page_leaves(nginx):
    server = serve(nginx, APP, "location / { ssi on; wsgi_pass app.py; }")
    with nothing_left(server):
        client = server.connect()
        client.send_request("GET", "/page")
        suspended(server, 3)
        client.reset()
        assert sorted(wait_notes(server, "finally", 3)) == ["finally a", "finally b", "finally c"]
        assert [resume(server, name) for name in "abc"] == [False] * 3


def test_auth_request(nginx):
    server = serve(nginx, APP, """
        location / { wsgi_pass app.py; }
        location /page { auth_request /auth; wsgi_pass app.py; wsgi_script_name ""; }
        location = /auth { internal; wsgi_pass app.py; wsgi_script_name ""; rewrite ^ /wait?a break; }
        """)
    client = server.connect()
    client.send_request("GET", "/page")
    suspended(server)
    assert resume(server, "a") is True
    assert client.read_response().body.startswith(b"[")
