"""Subrequests to locations with proxy_pass: long and chunked responses, caches, and servers that fail."""

import pytest

from harness.apps import wait_notes
from harness.http import Truncated
from harness.nginx import BUILT_WITH, VENDORED, wait_for
from harness.subrequests import LARGE, ask, behind, serve

pytestmark = pytest.mark.inline_only

LONG = bytes(range(32, 127)) * 4000


def long(handler, path, headers):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/x-long\r\nContent-Length: %d\r\n\r\n" % len(LONG))
    handler.wfile.write(LONG)


def chunked(handler, path, headers):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Answers: %b\r\n\r\n" % path.encode())
    for start in range(0, len(LONG), 7000):
        piece = LONG[start:start + 7000]
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


def until_it_closes(handler, path, headers):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + LONG)


def proxy(server, *more):
    return LARGE + f"location /far/ {{ proxy_pass http://127.0.0.1:{server.port}; {' '.join(more)} }}"


BUFFERS = ["proxy_buffering on;", "proxy_buffering off;", "proxy_buffering on; proxy_max_temp_file_size 0;"]


@pytest.mark.parametrize("buffering", BUFFERS)
@pytest.mark.parametrize("respond", [long, chunked, until_it_closes])
def test_responses_longer_than_the_buffers(nginx, respond, buffering):
    with behind(respond) as other:
        server = serve(nginx, server=proxy(other, "proxy_http_version 1.1; proxy_buffers 4 4k;", buffering))
        parts = ask(server, "/far/1", "/part/x", "/far/2", "/far/3")
    assert [part.status for part in parts] == [200] * 4
    assert [part.body for part in parts] == [LONG, b"x", LONG, LONG]


def test_a_cache(nginx):
    with behind(chunked) as other:
        server = serve(nginx, server=proxy(
            other, "proxy_http_version 1.1; proxy_cache kept; proxy_cache_valid 1h;"),
            http="proxy_cache_path %%FOLDER%%/kept keys_zone=kept:1m;"
                 "log_format cached '$uri $upstream_cache_status'; log_subrequest on;"
                 "access_log %%FOLDER%%/cached.log cached;")
        for _ in range(2):
            assert [part.body for part in ask(server, "/far/1", "/far/2")] == [LONG, LONG]
        assert ask(server, "/far/1")[0].header("X-Answers") == "/far/1"
        assert sorted(path for _, path, _ in other.seen) == ["/far/1", "/far/2"]
    log = (server.folder / "cached.log").read_text().splitlines()
    assert sorted(line for line in log if line.startswith("/far")) == [
        "/far/1 HIT", "/far/1 HIT", "/far/1 MISS", "/far/2 HIT", "/far/2 MISS"]


def test_only_a_whole_answer_is_asked_for(nginx):
    """What the client wants of the page, or sends with it, is not about its parts."""
    with behind(long) as other:
        server = serve(nginx, """
            def at_post(environ, start_response):
                body = environ["wsgi.input"].read()
                [found] = yield from ask(environ, "/far/1?a=b", method="POST")
                yield from answer(start_response, len(body))
            """, server=proxy(other))
        about = [("Accept-Encoding", "gzip"), ("If-Modified-Since", "Fri, 01 Jan 2027 00:00:00 GMT"),
                 ("If-None-Match", '"x"'), ("Range", "bytes=0-1"), ("Content-Type", "text/x"), ("X-Kept", "1"),
                 ("Cookie", "a=b"), ("X-Kept-Too", "2")]
        assert server.post("/post", b"x" * 100_000, about).body == b"100000"
        assert server.post("/post", b"x" * 10, about, chunked=True).body == b"10"
    for method, path, headers in other.seen:
        assert (method, path) == ("POST", "/far/1?a=b")
        headers.pop("host"), headers.pop("connection")
        assert headers == {"x-kept": "1", "cookie": "a=b", "x-kept-too": "2"}


def stops(handler, path, headers):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")


def stops_short(handler, path, headers):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")


def stops_before(handler, path, headers):
    pass


@pytest.mark.parametrize("buffering", BUFFERS)
@pytest.mark.parametrize("respond", [stops, stops_short])
def test_a_server_that_leaves_in_the_middle(nginx, respond, buffering):
    with behind(respond) as other:
        server = serve(nginx, server=proxy(other, "proxy_http_version 1.1;", buffering))
        client = server.connect()
        for _ in range(2):
            client.send_request("GET", "/ask?/part/x,/far/1,/part/y")
            x, far, y = client.read_response().json()
            assert (x[2], y[2]) == ("x", "y")
            assert far == ('OSError: subrequest "GET /far/1": the response broke off, see nginx\'s error log')
    server.wait_for_log("upstream prematurely closed connection")


def test_a_server_that_does_not_answer(nginx):
    with behind(stops_before) as other:
        server = serve(nginx, server=proxy(other))
        far, x = ask(server, "/far/1", "/part/x")
    assert far.status == 502 and b"502 Bad Gateway" in far.body and x.body == b"x"


@pytest.mark.parametrize("begins", [False, True])
def test_a_server_that_takes_too_long(nginx, begins):
    def respond(handler, path, headers):
        if begins:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        handler.rfile.read()

    with behind(respond) as other:
        server = serve(nginx, server=proxy(other, "proxy_read_timeout 200ms;"))
        far, x = ask(server, "/far/1", "/part/x")
    assert x.body == b"x"
    if begins:
        assert "broke off" in far.error
    else:
        assert far.status == 504


@pytest.mark.parametrize("begins", [False, True])
def test_the_client_leaves_while_a_server_takes_long(nginx, begins):
    def respond(handler, path, headers):
        if begins:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        handler.rfile.read()

    with behind(respond) as other:
        server = serve(nginx, """
            def at_waits(environ, start_response):
                return Waiting(ask(environ, "/far/1", "/part/x", "/far/2"))

            class Waiting:
                def __init__(self, items):
                    self.items = items
                def __iter__(self):
                    return self.items
                def close(self):
                    note("closed")
            """, server=proxy(other))
        client = server.connect()
        client.send_request("GET", "/waits")
        wait_for(lambda: len(other.seen) == 2, "two requests")
        client.close()
        wait_notes(server, "closed")
    assert ask(server, "/part/x")[0].body == b"x"


def test_a_client_gone_is_no_matter_where_the_location_says_so(nginx):
    """As without subrequests: proxy_ignore_client_abort has nginx wait for the server's answer."""
    go = []

    def respond(handler, path, headers):
        wait_for(lambda: go, "the test")
        long(handler, path, headers)

    with behind(respond) as other:
        server = serve(nginx, server=proxy(other, "proxy_ignore_client_abort on;"))
        client = server.connect()
        client.send_request("GET", "/ask?/far/1,/far/2")
        wait_for(lambda: len(other.seen) == 2, "two requests")
        client.close()
        go.append(1)
        assert ask(server, "/part/x")[0].body == b"x"


def test_nothing_of_a_part_reaches_the_client(nginx):
    """A page that is cut short holds its own bytes only."""
    with behind(long) as other:
        server = serve(nginx, """
            def at_breaks(environ, start_response):
                start_response("200 OK", PLAIN)
                yield b"begin "
                sub = environ["ngx.subrequest"]("/far/1")
                yield b""
                yield b"%d" % len(sub().body)
                raise ValueError("planned")
            """, server=proxy(other))
        with pytest.raises(Truncated) as cut:
            server.get("/breaks")
    assert cut.value.response.body == b"begin %d" % len(LONG)


def test_repeated_headers_of_the_client(nginx):
    """nginx links those of one name with each other, also where some in between are left out."""
    with behind(lambda handler, path, headers: handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as other:
        server = serve(nginx, """
            def at_headers(environ, start_response):
                return answer(start_response, [environ.get(name) for name in (
                    "HTTP_X_FORWARDED_FOR", "HTTP_COOKIE", "HTTP_X_TWO", "HTTP_RANGE", "CONTENT_TYPE")])
            """, server=proxy(other, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"))
        _, headers = ask(server, "/far/1", "/headers", headers=[
            ("X-Forwarded-For", "1.1.1.1"), ("Range", "bytes=0-1"), ("Cookie", "a=1"), ("X-Two", "1"),
            ("X-Forwarded-For", "2.2.2.2"), ("If-Match", "*"), ("Cookie", "b=2"), ("Content-Type", "x/y"),
            ("X-Two", "2")])
    forwarded, cookie, two, range, kind = headers.json()
    assert (forwarded, cookie, two) == ("1.1.1.1, 2.2.2.2", "a=1; b=2", "1, 2") and range is kind is None
    [[_, _, seen]] = other.seen
    assert seen["x-forwarded-for"] == "1.1.1.1, 2.2.2.2, 127.0.0.1"


def test_uwsgi(nginx):
    """Names and values that uwsgi_pass sends, of which nginx puts together repeated headers."""
    seen = []

    def answer(handler):
        head = handler.rfile.read(4)
        data, found = handler.rfile.read(int.from_bytes(head[1:3], "little")), []
        while data:
            for _ in range(2):
                size = int.from_bytes(data[:2], "little")
                found.append(data[2:2 + size].decode())
                data = data[2 + size:]
        seen.append(list(zip(found[::2], found[1::2])))
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\n\r\nuwsgi")

    with behind(answer, raw=True) as other:
        server = serve(nginx, server=f"""
            location = /far {{
                uwsgi_param REQUEST_METHOD $request_method; uwsgi_param CONTENT_LENGTH $content_length;
                uwsgi_param CONTENT_TYPE $content_type if_not_empty; uwsgi_param PATH_INFO $uri;
                uwsgi_pass 127.0.0.1:{other.port};
            }}""")
        [far] = ask(server, "/far", headers=[
            ("X-Forwarded-For", "1.1.1.1"), ("Range", "bytes=0-1"), ("Cookie", "a=1"), ("Content-Type", "x/y"),
            ("X-Forwarded-For", "2.2.2.2"), ("Cookie", "b=2")])
    assert (far.status, far.body, far.header("Content-Type")) == (200, b"uwsgi", "x/y")
    [found] = seen
    assert dict(found)["PATH_INFO"] == "/far" and dict(found)["CONTENT_LENGTH"] == ""
    names = sorted(name for name, _ in found)
    assert "HTTP_RANGE" not in names and "CONTENT_TYPE" not in names
    joined = [value for name, value in found if name == "HTTP_X_FORWARDED_FOR"]
    assert joined == (["1.1.1.1, 2.2.2.2"] if VENDORED else ["1.1.1.1", "2.2.2.2"])


@pytest.mark.skipif("http_slice" not in BUILT_WITH, reason="nginx without the slice filter")
def test_slices(nginx):
    """nginx asks for slices by subrequests of the subrequest."""
    server = serve(nginx, server=LARGE + """
        location /far/ {
            slice 1k; proxy_cache kept; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;
            proxy_http_version 1.1; proxy_cache_valid 200 206 1h; proxy_pass http://127.0.0.1:%%PORT%%/files/;
        }
        location /files/ { root %%FOLDER%%; }
        """, http="proxy_cache_path %%FOLDER%%/kept keys_zone=kept:1m;")
    (server.folder / "files").mkdir()
    (server.folder / "files/long").write_bytes(LONG[:20_500])
    for _ in range(2):
        one, x, two = ask(server, "/far/long", "/part/x", "/far/long", headers=[("Range", "bytes=5-10")])
        assert one.status == two.status == 200 and x.body == b"x"
        assert one.body == two.body == LONG[:20_500]
