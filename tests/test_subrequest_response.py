"""What a subrequest gives: status, headers and body of whatever location answers."""

import pytest

from harness.subrequests import LARGE, ask, behind, outcomes, serve

pytestmark = pytest.mark.inline_only

PLACES = LARGE + """
    location = /said { return 200 said; }
    location = /moved { return 302 /elsewhere; }
    location = /teapot { return 418; }
    location = /nothing { return 204; }
    location = /json { default_type application/json; return 200 [1]; }
    location /files/ { root %%FOLDER%%; }
    location = /missing { root %%FOLDER%%; }
    location ~ ^/threads/ { wsgi_threads 2; wsgi_pass app.py; }
    """


def test_an_application(nginx):
    [part] = ask(serve(nginx), "/part/hello")
    assert (part.status, part.body) == (200, b"hello")
    assert part.header("Content-Type") == "text/plain" and part.header("Content-Length") == "5"


@pytest.mark.parametrize("http", ["1.1", "1.0", "2", "tls"])
def test_several_over_any_protocol(nginx, http):
    server = serve(nginx, server=PLACES, tls=True, h2c=True)
    target = "/ask?/part/one,/said,/missing,/part/two"
    if http == "2":
        answer = server.h2().request("GET", target)
    else:
        answer = server.get(target, **({"tls": True} if http == "tls" else {"version": http}))
    one, said, missing, two = outcomes(answer)
    assert (one.body, said.body, two.body) == (b"one", b"said", b"two")
    assert missing.status == 404 and b"404 Not Found" in missing.body


@pytest.mark.vendored_only
def test_over_http3(nginx):
    server = serve(nginx, server=PLACES, h3=True)
    answer = server.h3(("GET", "/ask?/part/one,/said"))
    one, said = outcomes(answer)
    assert (one.body, said.body) == (b"one", b"said")


def test_answers_of_nginx(nginx):
    server = serve(nginx, server=PLACES)
    moved, teapot, nothing, json = ask(server, "/moved", "/teapot", "/nothing", "/json")
    assert moved.status == 302 and moved.header("Location") == "/elsewhere"
    assert (teapot.status, teapot.body) == (418, b"")
    assert (nothing.status, nothing.body, nothing.header("Content-Type")) == (204, b"", None)
    assert (json.body, json.headers) == (b"[1]", [["Content-Type", "application/json"], ["Content-Length", "3"]])


@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_files(nginx, sendfile):
    server = serve(nginx, server=PLACES, http=f"sendfile {sendfile};")
    (server.folder / "files").mkdir()
    body = bytes(range(256)) * 1000
    (server.folder / "files/big.bin").write_bytes(body)
    (server.folder / "files/empty.txt").write_bytes(b"")
    (server.folder / "files/index.html").write_bytes(b"index")
    big, empty, index, missing = ask(server, "/files/big.bin", "/files/empty.txt", "/files/", "/files/none")
    assert (big.status, big.body) == (200, body)
    assert big.header("Content-Length") == str(len(body)) and big.header("Last-Modified").endswith("GMT")
    assert big.header("ETag")
    assert (empty.status, empty.body) == (200, b"")
    assert (index.status, index.body, index.header("Content-Type")) == (200, b"index", "text/html")
    assert missing.status == 404


def test_files_read_by_threads_of_nginx(nginx):
    server = serve(nginx, server=PLACES, http="aio threads; sendfile off; output_buffers 1 4k;")
    (server.folder / "files").mkdir()
    for name in "ab":
        (server.folder / f"files/{name}").write_bytes(name.encode() * 500_000)
    a, b = ask(server, "/files/a", "/files/b")
    assert a.body == b"a" * 500_000 and b.body == b"b" * 500_000


def test_an_application_in_threads(nginx):
    server = serve(nginx, """
        def at_threads(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("X-Keys", str("ngx.subrequest" in environ))])
            return iter([b"a" * 100_000, b"b" * 100_000])
        """, server=PLACES)
    one, two = ask(server, "/threads/1", "/threads/2")
    assert one.body == two.body == b"a" * 100_000 + b"b" * 100_000
    assert one.header("X-Keys") == "False"


def test_an_application_that_streams(nginx):
    server = serve(nginx, """
        def at_stream(environ, start_response):
            start_response("200 OK", PLAIN)
            name = environ["PATH_INFO"][-1].encode()
            return Body(*[name * 10_000, b""] * 50, name="stream")
        """, server=PLACES)
    assert [part.body for part in ask(server, "/stream/a", "/stream/b")] == [b"a" * 500_000, b"b" * 500_000]


def test_repeated_headers(nginx):
    server = serve(nginx, """
        def at_cookies(environ, start_response):
            start_response("201 Made", PLAIN + [("Set-Cookie", "a=1"), ("Set-Cookie", "b=\\xe4"), ("X-Empty", "")])
            return [b"made"]
        """)
    [made] = ask(server, "/cookies")
    assert (made.status, made.body) == (201, b"made")
    assert made.all("Set-Cookie") == ["a=1", "b=\xe4"] and made.header("X-Empty") == ""


def test_the_response_is_the_same_each_time(nginx):
    server = serve(nginx, """
        def at_twice(environ, start_response):
            sub = environ["ngx.subrequest"]("/part/x")
            yield b""
            first = sub()
            yield from answer(start_response, [sub() is first, type(first.body).__name__, repr(first), repr(sub)])
        """)
    assert server.get("/twice").json() == [True, "bytes", "<response 200, 1 bytes>", '<subrequest "GET /part/x">']


def test_through_wsgiref_validate(nginx):
    server = serve(nginx, """
        from wsgiref.validate import validator

        def page(environ, start_response):
            # The validator wants this before the first item.
            start_response("200 OK", PLAIN)
            found = yield from ask(environ, "/part/a", "/part/b")
            yield json.dumps(found).encode()

        at_page = validator(page)
        """)
    assert [part.body for part in outcomes(server.get("/page"))] == [b"a", b"b"]


def test_head(nginx):
    with behind(lambda handler, path, headers: handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")) as other:
        server = serve(nginx, server=PLACES + f"location = /behind {{ proxy_pass http://127.0.0.1:{other.port}; }}")
        (server.folder / "files").mkdir()
        (server.folder / "files/five").write_bytes(b"12345")
        file, part, proxied, said = ask(server, "/files/five", "/part/hello", "/behind", "/said",
                                        headers=[("X-Method", "HEAD")])
    assert (file.status, file.body, file.header("Content-Length")) == (200, b"", "5")
    assert (part.status, part.body, part.header("Content-Length")) == (200, b"", "5")
    assert (proxied.status, proxied.body, proxied.header("Content-Length")) == (200, b"", "7")
    assert other.seen[0][0] == "HEAD"
    assert (said.status, said.body) == (200, b"")


def test_methods(nginx):
    server = serve(nginx, """
        def at_method(environ, start_response):
            return answer(start_response, [environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH"),
                                           environ["wsgi.input"].read().decode()])
        """, server=PLACES)
    for method in "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "MKCOL":
        [found] = ask(server, "/method", headers=[("X-Method", method)])
        assert found.body.decode() == f'["{method}", null, ""]'
    (server.folder / "missing").write_bytes(b"there")
    assert ask(server, "/missing", headers=[("X-Method", "POST")])[0].status == 405
