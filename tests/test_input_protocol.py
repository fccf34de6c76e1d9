"""Request bodies on the wire: what is refused before the application runs, what goes on after it, HTTP/2."""

import pytest

from harness.apps import notes, serve, wait_notes
from harness.nginx import wait_for

ECHO = """
    def at_echo(environ, start_response):
        note("called")
        return answer(start_response, environ["wsgi.input"].read())

    def at_unread(environ, start_response):
        return answer(start_response, b"unread")

    def at_part(environ, start_response):
        return answer(start_response, environ["wsgi.input"].read(5))

    def at_length(environ, start_response):
        stream, total = environ["wsgi.input"], 0
        while True:
            block = stream.read(65536)
            if not block:
                break
            total += len(block)
        return answer(start_response, [total, environ.get("CONTENT_LENGTH")])
    """


def test_too_large_a_body_is_413_before_the_application_runs(nginx):
    server = serve(nginx, ECHO, "client_max_body_size 100; location / { wsgi_pass app.py; }")
    assert server.post("/echo", b"x" * 100).status == 200
    client = server.connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n")
    assert client.read_response().status == 413
    client = server.connect()
    client.send_request("POST", "/echo", body=[b"x" * 60, b"y" * 60], chunked=True)
    assert client.read_response().status == 413
    client = server.connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\nExpect: 100-continue\r\n\r\n")
    answer = client.read_response()
    assert (answer.status, answer.interim) == (413, [])
    assert notes(server) == ["called"]


def test_too_slow_a_body_is_408_before_the_application_runs(nginx):
    server = serve(nginx, ECHO, "client_body_timeout 300ms; location / { wsgi_pass app.py; }")
    client = server.connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\npart")
    assert client.read_rest() == b"" or b"408" in client.buffer
    wait_for(lambda: [line for line in server.access_lines() if '" 408 ' in line], "408 in the access log")
    assert notes(server) == []
    assert server.post("/echo", b"whole").body == b"whole"


@pytest.mark.parametrize("request_head", [
    b"Content-Length: x", b"Content-Length: -1", b"Content-Length: 3\r\nContent-Length: 4",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Transfer-Encoding: gzip"])
def test_broken_lengths_never_reach_the_application(nginx, request_head):
    server = serve(nginx, ECHO)
    client = server.connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\n" + request_head + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    answer = client.read_head()
    assert answer.status in (400, 501)
    assert notes(server) == []


def test_broken_chunks_are_400(nginx):
    server = serve(nginx, ECHO)
    for coded in (b"zz\r\nabc\r\n", b"3\r\nabcX\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n"):
        client = server.connect()
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + coded)
        assert client.read_head().status in (400, 413)
    assert notes(server) == []


@pytest.mark.parametrize("size", [3, 5000, 300_000])
@pytest.mark.parametrize("target, body", [("/unread", b"unread"), ("/part", None)])
def test_unread_bodies_do_not_disturb_the_connection(nginx, size, target, body):
    server = serve(nginx, ECHO)
    client = server.connect()
    sent = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n" * (size // 30) + b"x" * (size % 30)
    for chunked in (False, True):
        assert client.request("POST", target, body=sent, chunked=chunked).body == (body or sent[:5])
        assert client.request("POST", "/echo", body=b"next").body == b"next"
    assert "evil" not in "".join(server.access_lines())


def test_pipelined_requests_are_answered_in_order(nginx):
    server = serve(nginx, ECHO)
    client = server.connect()
    burst = b""
    for number in range(30):
        body = b"%d" % number * (number * 50)
        burst += b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        burst += b"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    client.send(burst)
    for number in range(30):
        assert client.read_response().body == b"%d" % number * (number * 50)
        assert client.read_response().body == b"unread"


def test_input_after_the_request_is_like_a_closed_file(nginx):
    server = serve(nginx, """
        kept = []

        def at_keep(environ, start_response):
            stream = environ["wsgi.input"]
            kept[:] = [stream, iter(stream)]
            stream.read(1)
            return answer(start_response, b"kept")

        def at_use(environ, start_response):
            stream, iterator = kept
            return answer(start_response, [raised(stream.read), raised(stream.read, 1), raised(stream.read, 0),
                                           raised(stream.readline), raised(stream.readlines), raised(next, iterator)])
        """, """
        location / { wsgi_pass app.py; }
        location /keep/file { wsgi_pass app.py; wsgi_script_name ""; client_body_in_file_only clean; }
        """)
    for target in ("/keep", "/keep/file"):
        client = server.connect()
        assert client.request("POST", target, body=b"some\nbody\n").body == b"kept"
        assert client.request("GET", "/use").json() == ["ValueError"] * 6


def test_input_is_readable_while_the_response_streams(nginx):
    server = serve(nginx, """
        def at_stream(environ, start_response):
            start_response("200 OK", PLAIN)
            for line in environ["wsgi.input"]:
                yield line
        """, "location / { wsgi_pass app.py; client_body_buffer_size 1k; }")
    body = b"".join(b"line %d\n" % number for number in range(3000))
    client = server.connect()
    for chunked in (False, True):
        assert client.request("POST", "/stream", body=body, chunked=chunked).body == body


@pytest.mark.parametrize("tls", [False, True])
def test_http_2_bodies_with_and_without_content_length(nginx, tls):
    server = serve(nginx, ECHO, "client_max_body_size 0; client_body_buffer_size 1k; location / { wsgi_pass app.py; }",
                   tls=True, h2c=True)
    client = server.h2(tls=tls)
    for size in (0, 1, 500, 2000, 300_000):
        body = (b"0123456789" * (size // 10 + 1))[:size]
        stream = client.send_request("POST", "/echo", end=False)
        client.send_data(stream, body, end=True)
        assert client.finish(stream).body == body
        assert client.request("POST", "/length", body=body).json() == [size, str(size)] or size == 0
        stream = client.request("POST", "/echo", [("content-length", str(size))], body)
        assert stream.body == body


def test_http_2_body_cancelled_before_its_end_never_reaches_the_application(nginx):
    server = serve(nginx, ECHO, h2c=True)
    client = server.h2()
    stream = client.send_request("POST", "/echo", end=False)
    client.send_data(stream, b"a part")
    client.reset(stream)
    assert client.request("POST", "/unread").body == b"unread"
    assert notes(server) == []


def test_large_upload_goes_through_a_temp_file_that_is_removed(nginx):
    size = 20_000_000
    server = serve(nginx, ECHO, "client_max_body_size 0; location / { wsgi_pass app.py; }")
    answer = server.post("/length", b"x" * size)
    assert answer.json() == [size, str(size)]
    assert not [path for path in (server.folder / "temp_client_body").rglob("*") if path.is_file()]


def test_body_is_there_again_after_an_internal_redirect(nginx):
    server = serve(nginx, """
        def at_first(environ, start_response):
            note("first", environ["wsgi.input"].read().decode())
            start_response("500 Failed", PLAIN)
            raise ValueError("go on")

        def at_second(environ, start_response):
            return answer(start_response, environ["wsgi.input"].read())
        """, """
        location /first { wsgi_pass app.py; wsgi_script_name ""; error_page 500 = @second; }
        location @second { rewrite .* /second break; wsgi_pass app.py; }
        """)
    answer = server.post("/first", b"the body")
    assert (answer.status, answer.body) == (200, b"the body")
    wait_notes(server, "first the body")
