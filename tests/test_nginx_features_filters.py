"""nginx's own features around an application: gzip, limits, headers, error pages, logs, versions of HTTP."""

import gzip
import re
import threading
import zlib

import pytest

from harness.apps import notes, serve, settled, touch, wait_notes
from harness.http import Connection, Truncated
from harness.nginx import BUILT_WITH, wait_for

APP = """
    def at_text(environ, start_response):
        start_response("200 OK", PLAIN)
        return [b"some text " * 1000]

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(*[b"some text " * 100] * 10)

    def at_steps(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"first"
        while not there("go"):
            yield b""
        yield b"second"

    def at_raise(environ, start_response):
        raise ValueError("boom")

    def at_late(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(b"part", ValueError("boom"))

    def at_own500(environ, start_response):
        start_response("500 Mine", PLAIN)
        return [b"own text"]

    def at_own404(environ, start_response):
        start_response("404 Mine", PLAIN)
        return [b"own text"]

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")

    def at_name(environ, start_response):
        return answer(start_response, [environ["PATH_INFO"], environ["QUERY_STRING"], environ["REQUEST_METHOD"]])
    """
GZIP = "location / { gzip on; gzip_min_length 1; gzip_types text/plain; gzip_proxied any; wsgi_pass app.py; }"


def test_gzip(nginx):
    server = serve(nginx, APP, GZIP, tls=True, h2c=True)
    client = server.connect()
    accept = [("Accept-Encoding", "gzip")]
    with_http2 = server.h2()
    for target in ("/text", "/stream"):
        for answer in (client.request("GET", target, accept), server.get(target, accept, tls=True),
                       with_http2.request("GET", target, [("accept-encoding", "gzip")])):
            assert answer.header("Content-Encoding") == "gzip" and answer.header("Content-Length") is None
            assert len(answer.body) < 1000
            assert gzip.decompress(answer.body) == b"some text " * 1000
        plain = client.request("GET", target)
        assert plain.header("Content-Encoding") is None and plain.body == b"some text " * 1000
    # What went through gzip is truncated visibly as well.
    with pytest.raises(Truncated):
        server.get("/late", accept)


def test_gzip_flushes_each_block(nginx):
    server = serve(nginx, APP, GZIP)
    client = server.connect()
    client.send_request("GET", "/steps", [("Accept-Encoding", "gzip")])
    head = client.read_head()
    unzip = zlib.decompressobj(wbits=31)
    got = b""
    while len(got) < 5:
        got += unzip.decompress(client.read_chunk(head))
    assert got == b"first"
    touch(server, "go")
    while data := client.read_chunk(head):
        got += unzip.decompress(data)
    assert got == b"firstsecond"


def test_gzip_leaves_encoded_answers_alone(nginx):
    server = serve(nginx, """
        def at_encoded(environ, start_response):
            start_response("200 OK", [*PLAIN, ("Content-Encoding", "gzip")])
            return [b"as it is " * 100]
        """, GZIP)
    answer = server.get("/encoded", [("Accept-Encoding", "gzip")])
    assert (answer.all("Content-Encoding"), answer.body) == (["gzip"], b"as it is " * 100)


def test_limit_rate(nginx):
    server = serve(nginx, """
        def at_limited(environ, start_response):
            start_response("200 OK", PLAIN)
            for number in range(20):
                note("asked", number)
                yield b"x" * 20000

        def at_list(environ, start_response):
            start_response("200 OK", PLAIN)
            return [b"x" * 400_000]

        def at_hello(environ, start_response):
            return answer(start_response, b"hello")
        """, "location / { limit_rate 400k; wsgi_pass app.py; }", tls=True, h2c=True)
    # The rate is a promise of nginx; ours is that the blocks come at the client's pace and all of them come.
    clients = []
    for target in ("/limited", "/list"):
        client = server.connect()
        client.send_request("GET", target)
        clients.append(client)
    wait_notes(server, "asked")
    assert len(notes(server, "asked")) < 20
    assert server.get("/hello").body == b"hello"
    with_http2 = server.h2()
    stream = with_http2.send_request("GET", "/limited")
    for client in clients:
        assert client.read_response().body == b"x" * 400_000
    with_http2.finish(stream)
    assert stream.body == b"x" * 400_000


def test_error_page_catches_exceptions(nginx):
    server = serve(nginx, APP, """
        error_page 500 502 /name/error;
        location / { wsgi_pass app.py; }
        location /static { wsgi_pass app.py; wsgi_script_name /static; error_page 500 =503 @sorry; }
        location @sorry { return 503 "sorry"; }
        location /changed { wsgi_pass app.py; wsgi_script_name /changed; error_page 500 =200 /hello; }
        """)
    answer = server.post("/raise?q=1", b"body")
    assert (answer.status, answer.json()) == (500, ["/name/error", "", "GET"])
    answer = server.get("/static/raise")
    assert (answer.status, answer.body) == (503, b"sorry")
    answer = server.get("/changed/raise")
    assert (answer.status, answer.body) == (200, b"hello")
    # An answer of the application is its own, whatever its status.
    answer = server.get("/own500")
    assert (answer.status, answer.reason, answer.body) == (500, "Mine", b"own text")
    assert server.get("/own404").body == b"own text"
    # Too late for a page.
    with pytest.raises(Truncated):
        server.get("/late")


def test_error_page_that_fails_itself(nginx):
    server = serve(nginx, APP, "error_page 500 /raise; location / { wsgi_pass app.py; }")
    answer = server.get("/raise")
    assert answer.status == 500
    assert server.get("/hello").body == b"hello"


def test_expires_and_add_header(nginx):
    server = serve(nginx, APP, """
        location / { wsgi_pass app.py; expires 1h; add_header X-Added yes always; add_header X-Only-Ok yes; }
        """)
    answer = server.get("/hello")
    assert answer.header("X-Added") == answer.header("X-Only-Ok") == "yes"
    assert answer.header("Cache-Control") == "max-age=3600" and answer.header("Expires")
    answer = server.get("/own404")
    assert answer.header("X-Added") == "yes" and answer.header("X-Only-Ok") is None
    answer = server.get("/raise")
    assert answer.status == 500 and answer.header("X-Added") == "yes"


def test_expires_does_not_double_the_headers_of_the_application(nginx):
    server = serve(nginx, """
        def at_own(environ, start_response):
            start_response("200 OK", [("Cache-Control", "no-store"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
                                      ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT")])
            return [b"x"]
        """, 'location / { wsgi_pass app.py; } location /own/e { wsgi_pass app.py; wsgi_script_name "";'
             ' expires 1h; add_header Last-Modified ""; }')
    answer = server.get("/own")
    assert answer.all("Cache-Control") == ["no-store"] and len(answer.all("Expires")) == 1
    answer = server.get("/own/e")
    assert len(answer.all("Expires")) == 1 and answer.all("Cache-Control")[-1] == "max-age=3600"
    assert len(answer.all("Cache-Control")) == 1
    assert answer.header("Last-Modified") is None


def test_access_log(nginx):
    server = serve(nginx, APP, "location / { wsgi_pass app.py; access_log %%FOLDER%%/own.log own; }",
                   http="log_format own '$request_method $uri $status $body_bytes_sent $sent_http_content_type "
                        "$request_length';", h2c=True)

    def last(count):
        def lines():
            path = server.folder / "own.log"
            found = path.read_text().splitlines() if path.exists() else []
            return found if len(found) == count else None
        return wait_for(lines, "lines in the access log")[-1].split()

    chunked = 10 * (len(b"some text ") * 100 + len("3e8\r\n\r\n")) + 5
    client = server.connect()
    for number, (method, target, status, size) in enumerate((
            ("GET", "/hello", 200, 5), ("HEAD", "/hello", 200, 0), ("GET", "/text", 200, 10000),
            ("GET", "/stream", 200, chunked), ("GET", "/own404", 404, 8), ("GET", "/own500", 500, 8)), start=1):
        client.request(method, target)
        assert last(number)[:4] == [method, target, str(status), str(size)]
    client.request("GET", "/raise")
    assert last(7)[:3] == ["GET", "/raise", "500"]
    with pytest.raises(Truncated):
        server.get("/late")
    assert last(8)[:3] == ["GET", "/late", "200"]
    server.h2().request("GET", "/stream")
    assert last(9)[:3] == ["GET", "/stream", "200"] and int(last(9)[3]) >= 10000


def test_access_log_of_a_client_that_left(nginx):
    server = serve(nginx, """
        def at_big(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(*[b"x" * 100000] * 200)
        """)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    client.read_head()
    settled(lambda: notes(server))
    client.reset()
    wait_for(lambda: [line for line in server.access_lines() if "/big" in line], "line in the access log")
    (line,) = [line for line in server.access_lines() if "/big" in line]
    status, size = re.search(r'" (\d+) (\d+) ', line).groups()
    assert status in ("200", "499") and 0 < int(size) < 20_000_000


@pytest.mark.skipif("http_sub_module" not in BUILT_WITH, reason="nginx without sub_filter")
def test_sub_filter(nginx):
    server = serve(nginx, APP, "location / { wsgi_pass app.py; sub_filter text TEXT; sub_filter_once off;"
                               " sub_filter_types text/plain; }")
    for target in ("/text", "/stream"):
        assert server.get(target).body == b"some TEXT " * 1000


def test_charset(nginx):
    server = serve(nginx, """
        def at_typed(environ, start_response):
            start_response("200 OK", [("Content-Type", environ["QUERY_STRING"])])
            return [b"x"]
        """, "location / { charset utf-8; charset_types text/plain text/html; wsgi_pass app.py; }")
    client = server.connect()
    assert client.request("GET", "/typed?text/plain").header("Content-Type") == "text/plain; charset=utf-8"
    assert client.request("GET", "/typed?text/html;charset=koi8-r").header("Content-Type") == \
        "text/html;charset=koi8-r"
    assert client.request("GET", "/typed?image/png").header("Content-Type") == "image/png"


def test_keep_alive_and_pipelining(nginx):
    server = serve(nginx, APP)
    client = server.connect()
    for _ in range(30):
        for target, size in (("/hello", 5), ("/text", 10000), ("/stream", 10000), ("/own404", 8)):
            assert len(client.request("GET", target).body) == size
    client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target for target in
                         (b"/hello", b"/stream", b"/own500", b"/own404", b"/text") * 20))
    for _ in range(20):
        assert [client.read_response().status for _ in range(5)] == [200, 200, 500, 404, 200]
    # nginx closes after a 500 of its own, whoever is to blame for it, but never in the middle of an answer.
    answer = client.request("GET", "/raise")
    assert answer.status == 500 and answer.header("Connection") == "close" and client.closed()
    client = server.connect()
    client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert len(client.read_response().body) == 10000 and client.closed()


def test_http_1_0_keep_alive(nginx):
    server = serve(nginx, APP)
    client = server.connect()
    keep = [("Connection", "keep-alive")]
    for _ in range(3):
        answer = client.request("GET", "/text", keep, version="1.0")
        assert answer.header("Connection") == "keep-alive" and len(answer.body) == 10000
    assert len(client.request("GET", "/stream", keep, version="1.0").body) == 10000
    assert client.closed()


@pytest.mark.parametrize("tls", [False, True])
def test_many_http_2_streams_at_once(nginx, tls):
    server = serve(nginx, """
        def at_part(environ, start_response):
            number = int(environ["QUERY_STRING"])
            start_response("200 OK", PLAIN)
            return Body(*[b"%03d" % number * (number + 1)] * 50) if number % 3 else \\
                [b"%03d" % number * (number + 1)] * 50

        def at_echo(environ, start_response):
            return answer(start_response, environ["wsgi.input"].read())
        """, "http2_max_concurrent_streams 200; location / { wsgi_pass app.py; }", tls=True, h2c=True)
    client = server.h2(tls=tls, hold=True)
    client.request("POST", "/echo", body=b"x")
    streams = [client.send_request("GET", f"/part?{number}") for number in range(90)]
    client.quiet(0.05)
    client.hold = False
    client.release()
    client.finish(*streams)
    for number, stream in enumerate(streams):
        assert stream.complete and stream.body == b"%03d" % number * (number + 1) * 50
    streams = [client.send_request("POST", "/echo", body=b"%d" % number * 300) for number in range(90)]
    client.finish(*streams)
    assert [stream.body for stream in streams] == [b"%d" % number * 300 for number in range(90)]


@pytest.mark.vendored_only
def test_many_http_3_streams_at_once(nginx):
    server = serve(nginx, APP, h3=True)
    answers = server.h3(*[("GET", target) for target in ("/hello", "/text", "/stream", "/own404", "/raise") * 8])
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 500] * 8
    assert all(answer.complete for answer in answers)
    assert {len(answer.body) for answer in answers[1::5] + answers[2::5]} == {10000}


@pytest.mark.vendored_only
def test_http_3_truncation_is_a_reset(nginx):
    server = serve(nginx, APP, h3=True)
    answer = server.h3(("GET", "/late"))
    assert not answer.complete and answer.reset is not None


def test_many_clients_at_once(nginx):
    server = serve(nginx, APP, workers=2)
    wrong = []

    def work():
        try:
            with Connection(("127.0.0.1", server.port)) as client:
                for _ in range(50):
                    for target, size in (("/hello", 5), ("/stream", 10000)):
                        if len(client.request("GET", target).body) != size:
                            wrong.append(target)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_satisfy_deny_and_return_come_before_the_application(nginx):
    server = serve(nginx, APP.replace("def at_hello(environ, start_response):",
                                      "def at_hello(environ, start_response):\n        note('called')"), """
        location / { deny all; wsgi_pass app.py; }
        location /hello { wsgi_pass app.py; wsgi_script_name ""; limit_except GET { deny all; } }
        location /gone { return 410; wsgi_pass app.py; }
        """)
    assert server.get("/text").status == 403
    assert server.post("/hello", b"x").status == 403
    assert server.get("/gone").status == 410
    assert notes(server) == []
    assert server.get("/hello").status == 200


def test_postpone_output_and_other_buffers_do_not_hold_blocks(nginx):
    server = serve(nginx, APP, "location / { postpone_output 8k; tcp_nopush on; sendfile on; output_buffers 4 64k;"
                               " wsgi_pass app.py; }")
    client = server.connect()
    client.send_request("GET", "/steps")
    head = client.read_head()
    assert client.read_chunk(head) == b"first"
    touch(server, "go")
    assert client.read_chunk(head) == b"second"


def test_slow_header_of_the_next_request_is_not_disturbed(nginx):
    server = serve(nginx, APP)
    client = server.connect()
    client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /stre")
    assert client.read_response().body == b"hello"
    client.send(b"am HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(client.read_response().body) == 10000
