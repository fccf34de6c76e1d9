"""X-Accel-Redirect: the answer comes from elsewhere, and the application's own is thrown away, as by uwsgi_pass."""

import urllib.parse

import pytest

from harness.apps import forget, notes, serve, wait_notes
from harness.nginx import rss

APP = """
    import urllib.parse

    def at_to(environ, start_response):
        # Status and headers are in the query string. uWSGI resets a connection with a body that was not read.
        environ["wsgi.input"].read()
        pairs = urllib.parse.parse_qsl(environ["QUERY_STRING"], encoding="latin-1", keep_blank_values=True)
        status = [value for name, value in pairs if name == "status"] or ["200 OK"]
        start_response(status[0], [(name, value) for name, value in pairs if name != "status"])
        return Body(b"never", b"seen", name="to")

    def at_show(environ, start_response):
        body = environ["wsgi.input"].read()
        note("show", environ["REQUEST_METHOD"])
        return answer(start_response, [environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"],
                                       len(body), body[:10].decode("latin-1"), environ.get("CONTENT_LENGTH"),
                                       environ.get("CONTENT_TYPE"), environ["REQUEST_URI"]])

    at_ = at_files = at_show

    def at_loop(environ, start_response):
        note("loop")
        start_response("200 OK", [("X-Accel-Redirect", "/loop")])
        return Body(b"never", name="loop")

    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", "99")][:1])
        return [b'[<!--#include virtual="/to?X-Accel-Redirect=/files/small.txt" -->|'
                b'<!--#include virtual="/to?X-Accel-Redirect=/show%3Fx=1" -->|'
                b'<!--#include virtual="/to?X-Accel-Redirect=@named" -->]']

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
CONFIG = """
    location / { twin_pass; }
    location /files/ { internal; alias %%FOLDER%%/files/; }
    location /added/ { internal; alias %%FOLDER%%/files/; add_header X-Added yes; expires epoch; }
    location /text { internal; return 200 "text $request_method $args"; }
    location /proxied/ { internal; proxy_pass http://127.0.0.1:%%PORT%%/; }
    location /other/ { internal; rewrite ^/other(/.*)$ $1 break; other_pass; }
    location @named { rewrite ^ /show break; twin_pass; }
    location @file { root %%FOLDER%%/files; rewrite ^ /small.txt break; }
    location @return { return 200 "named $request_method $request_uri"; }
    location @again { rewrite ^ /to?X-Accel-Redirect=@return? break; twin_pass; }
    """
PROXIED = 'location / { return 200 "proxied $request_method $request_uri"; }'
TEXT = b"".join(b"%04d " % number for number in range(200))


def to(target, *headers, status=None):
    pairs = [("X-Accel-Redirect", target), *headers] + ([("status", status)] if status else [])
    return "/to?" + urllib.parse.urlencode(pairs, encoding="latin-1")


@pytest.fixture
def pair(twins):
    def make(config="", text="", **options):
        made = twins(APP + text, CONFIG + config, server=PROXIED, **options)
        folder = made.server.folder / "files"
        folder.mkdir()
        (folder / "small.txt").write_bytes(TEXT)
        (folder / "page.html").write_bytes(b"<p>page</p>")
        (folder / "missing.html").write_bytes(b"is missing")
        return made
    return make


def test_to_a_file(pair):
    pair = pair()
    for _ in range(3):
        answer = pair.get(to("/files/small.txt"))
        assert (answer.status, answer.body) == (200, TEXT)
        assert answer.header("X-Accel-Redirect") is None and answer.header("ETag") and answer.header("Last-Modified")


def test_a_file_that_is_not_there(pair):
    pair = pair("location /paged/ { internal; alias %%FOLDER%%/files/; error_page 404 /files/missing.html; }")
    assert pair.get(to("/files/nothing.txt")).status == 404
    answer = pair.get(to("/paged/nothing.txt"))
    assert (answer.status, answer.body) == (404, b"is missing")


def test_error_page_of_the_applications_location(pair):
    pair = pair("""
        location /to { twin_pass; error_page 404 /files/missing.html; error_page 403 = @return; }
        """)
    # The location that answers decides, not the one that redirected.
    answer = pair.get(to("/files/nothing.txt"))
    assert (answer.status, answer.body) != (404, b"is missing") and answer.status == 404
    assert pair.get(to("/text")).body == b"text GET "


@pytest.mark.parametrize("target", [
    "", "?", "?x=1", "..", "../x", "/../x", "/files/../files/small.txt", "/files/..", "/files/%2e%2e/files/small.txt",
    "/files/%00", "/files/small.txt%00", "/files/small%2Etxt", "/files/small.txt?a=/../b", "/files/%", "/files/%zz",
    "files/small.txt", "http://127.0.0.1/files/small.txt", "//files/small.txt", "/files//small.txt", "@", "@nowhere",
    "@named?x=1", "/files/small.txt#part", "/files/sm\xe4ll.txt", "/", "/files/", "/files",
])
def test_unusual_targets(pair, target):
    pair = pair()
    pair.server.allow(r"\[crit\].*open\(\)")
    answer = pair.get(to(target))
    assert b"seen" not in answer.body
    assert pair.get("/hello").body == b"hello"


@pytest.mark.parametrize("target", ["/../x", "/files/%2e%2e/files/small.txt", "/files/small.txt%00", ""])
def test_an_unsafe_uri_is_not_found_and_logged(pair, target):
    pair = pair()
    assert pair.get(to(target)).status == 404
    pair.server.wait_for_log(r'\[error\].*unsafe URI ".*" was detected', count=2)


def test_with_arguments(pair):
    pair = pair()
    assert pair.get(to("/text?a=1&b=%20")).body == b"text GET a=1&b=%20"
    shown = pair.get(to("/show?a=1&b=%20?c")).json()
    assert shown[:3] == ["GET", "/show", "a=1&b=%20?c"]
    # What the client asked for is not what is shown.
    assert pair.get(to("/show")).json()[2] == ""


def test_encoded_targets_are_decoded_once(pair):
    assert pair().get(to("/show/a%20b%252e")).json()[1] == "/show/a b%2e"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_methods(pair, method):
    """To a URI everything but HEAD becomes GET; to a named location the method stays."""
    pair = pair()
    body = b"body" if method in ("POST", "PUT", "PATCH") else None
    by_uri = pair.request(method, to("/show?x=1"), [("Content-Type", "text/x")], body)
    by_name = pair.request(method, to("@named"), [("Content-Type", "text/x")], body)
    if method != "HEAD":
        assert by_uri.json()[0] == "GET" and by_name.json()[0] == method
        assert by_name.json()[3] == len(body or b"")
    text = pair.request(method, to("/text"), body=body)
    assert text.body == (b"" if method == "HEAD" else b"text GET ")
    text = pair.request(method, to("@return"), body=body)
    assert text.body.startswith(b"" if method == "HEAD" else b"named " + method.encode())


def test_a_file_for_a_post_and_for_head(pair):
    pair = pair()
    assert pair.post(to("/files/small.txt")).body == TEXT
    answer = pair.request("HEAD", to("/files/small.txt"))
    assert (answer.status, answer.header("Content-Length"), answer.body) == (200, str(len(TEXT)), b"")
    # By name it is still a POST, which is not for files.
    assert pair.post(to("@file")).status == 405
    assert pair.get(to("@file")).body == TEXT


@pytest.mark.parametrize("size", [0, 4, 20_000, 300_000])
@pytest.mark.parametrize("target", ["@named", "/show", "/other/show"])
def test_the_body_goes_along(pair, target, size):
    """In memory, and in a file."""
    pair = pair()
    body = b"0123456789" * (size // 10) + b"x" * (size % 10)
    shown = pair.post(to(target), body).json()
    if target == "@named":
        assert shown[0] == "POST" and shown[3] == size
        assert shown[4] == body[:10].decode()


def test_a_body_that_was_not_read_goes_along(pair):
    pair = pair(text="""
    def at_unread(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "@named")])
        return []
    """)
    for size in (4, 300_000):
        assert pair.wsgi.request("POST", "/unread", body=b"x" * size).json()[3] == size


def test_a_chunked_body_goes_along(pair):
    pair = pair()
    answer = pair.wsgi.connect().request("POST", to("@named"), body=[b"one", b"two"], chunked=True)
    assert answer.json()[0] == "POST" and answer.json()[3:6] == [6, "onetwo", "6"]


def test_to_other_handlers(pair):
    pair = pair()
    assert pair.get(to("/proxied/x?y=1")).body == b"proxied GET /x?y=1"
    assert pair.post(to("/proxied/x")).body == b"proxied GET /x"
    assert pair.get(to("/other/show?x=1")).json()[:3] == ["GET", "/show", "x=1"]
    assert pair.get(to("@return")).body.startswith(b"named GET /to?")
    assert pair.get(to("@again")).body.startswith(b"named GET ")
    assert pair.get(to(to("/text?x"))).body == b"text GET x"


@pytest.mark.parametrize("name, value", [
    ("Content-Type", "application/x-own"), ("Content-Disposition", 'attachment; filename="a b.pdf"'),
    ("Set-Cookie", "a=1"), ("Cache-Control", "private, max-age=5"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ("Accept-Ranges", "none"),
])
@pytest.mark.parametrize("target", ["/files/small.txt", "/text", "/added/small.txt", "@return"])
def test_headers_that_survive(pair, name, value, target):
    answer = pair().get(to(target, (name, value)))
    assert answer.status == 200
    if not (target.startswith("/added") and name in ("Cache-Control", "Expires")):
        assert value in answer.all(name)


@pytest.mark.parametrize("name, value", [
    ("X-Own", "1"), ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT"), ("ETag", '"v1"'), ("Server", "mine"),
    ("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Location", "/x"), ("Refresh", "5"), ("Vary", "Accept"),
    ("Content-Encoding", "gzip"), ("Content-Language", "en"), ("WWW-Authenticate", "Basic"), ("Link", "<x>"),
    ("Content-Length", "12345"), ("Content-Range", "bytes 0-1/2"), ("X-Accel-Expires", "5"), ("Status", "500"),
])
@pytest.mark.parametrize("target", ["/files/small.txt", "/show"])
def test_headers_that_do_not_survive(pair, name, value, target):
    answer = pair().get(to(target, (name, value)))
    assert answer.status == 200 and value not in answer.all(name)


def test_several_cookies_and_cache_controls_survive(pair):
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/"), ("Cache-Control", "private"),
               ("Cache-Control", "max-age=5"), ("set-cookie", "c=3")]
    answer = pair().get(to("/files/small.txt", *headers))
    assert answer.all("Set-Cookie") == ["a=1", "b=2; Path=/", "c=3"]
    assert answer.all("Cache-Control") == ["private", "max-age=5"]


def test_a_content_type_with_a_charset_survives(pair):
    pair = pair("location /cs/ { internal; alias %%FOLDER%%/files/; charset koi8-r; }")
    assert pair.get(to("/files/small.txt", ("Content-Type", "text/x; charset=utf-8"))).all("Content-Type") == \
        ["text/x; charset=utf-8"]
    pair.get(to("/cs/small.txt", ("Content-Type", "text/html; charset=utf-8")))
    pair.get(to("/cs/small.txt", ("Content-Type", "text/html")))
    pair.get(to("/cs/small.txt"))


def test_hiding_does_not_concern_what_survives(pair):
    pair = pair("location /to { twin_hide_header Set-Cookie; twin_hide_header Content-Type; twin_pass; }")
    answer = pair.get(to("/files/small.txt", ("Set-Cookie", "a=1"), ("Content-Type", "text/x")))
    assert (answer.all("Set-Cookie"), answer.header("Content-Type")) == (["a=1"], "text/x")


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "206 Partial", "301 Moved", "304 Not Modified",
                                    "401 Who", "403 No", "404 Not Found", "500 Broken", "503 Later"])
def test_the_status_of_the_application_does_not_count(pair, status):
    pair = pair()
    for target in ("/files/small.txt", "@return"):
        answer = pair.get(to(target, ("Location", "/x"), status=status))
        assert answer.status == 200 and answer.body


@pytest.mark.parametrize("headers", [
    [("Range", "bytes=5-9")], [("Range", "bytes=-5")], [("Range", "bytes=990-")], [("Range", "bytes=2000-")],
    [("If-Modified-Since", "Thu, 01 Jan 2037 00:00:00 GMT")], [("If-None-Match", "*")], [("If-Match", '"other"')],
    [("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")], [("Accept-Encoding", "gzip")],
])
def test_what_the_client_wants_of_the_file(pair, headers):
    pair = pair("gzip on; gzip_types *; gzip_min_length 1; if_modified_since before;")
    answer = pair.get(to("/files/small.txt", ("Content-Type", "text/x")), headers)
    if headers == [("Range", "bytes=5-9")]:
        assert (answer.status, answer.body) == (206, TEXT[5:10])
    else:
        assert answer.status in (206, 304, 412, 416) or answer.header("Content-Encoding") == "gzip"


def test_several_ranges_of_the_file(pair):
    for side in pair().sides():
        answer = side.request("GET", to("/files/small.txt"), [("Range", "bytes=0-4,10-14")])
        assert answer.status == 206 and answer.header("Content-Type").startswith("multipart/byteranges")
        assert b"0000 " in answer.body and b"0002 " in answer.body and b"0001 " not in answer.body


def test_a_loop_ends_in_500_once(pair):
    pair = pair()
    answer = pair.get("/loop")
    assert answer.status == 500
    first, second = (notes(side, "loop") for side in pair.sides())
    assert len(first) == len(second) > 1
    assert len(pair.server.wait_for_log("redirection cycle", count=2)) == 2
    wait_notes(pair.wsgi, "close loop", len(first))
    assert notes(pair.wsgi, "close loop") == ["close loop"] * len(first)
    assert pair.get("/hello").body == b"hello"


def test_a_loop_of_named_locations(pair):
    pair = pair("location @me { rewrite ^ /to?X-Accel-Redirect=@me? break; twin_pass; }")
    assert pair.get(to("@me")).status == 500
    assert pair.get("/hello").body == b"hello"


def test_close_comes_first_and_once_and_nothing_is_generated(pair):
    pair = pair()
    for number, target in enumerate(("/show", "@named")):
        forget(pair.wsgi)
        pair.post(to(target))
        wait_notes(pair.wsgi, "show")
        # The generator has not come to its end: nobody asked for its first item.
        assert notes(pair.wsgi) == ["close to", f"show {('GET', 'POST')[number]}"]


def test_a_generator_is_asked_until_it_calls_start_response_and_no_further(pair):
    pair = pair(text="""
    def at_generator(environ, start_response):
        try:
            start_response("200 OK", [("X-Accel-Redirect", "/files/small.txt")])
            note("started")
            yield b"first"
            note("second")
            yield b"second"
        finally:
            note("finally")
    """)
    assert pair.get("/generator").body == TEXT
    assert wait_notes(pair.wsgi, "finally") == ["finally"]
    assert notes(pair.wsgi) == ["started", "finally"]


def test_a_list_a_file_and_an_empty_body(pair):
    pair = pair(text="""
    import io
    HEAD = [("X-Accel-Redirect", "/files/small.txt"), ("Content-Type", "text/own")]

    class Noting(io.BytesIO):
        def close(self):
            note("close file")
            super().close()

    def at_list(environ, start_response):
        start_response("200 OK", HEAD + [("Content-Length", "7")])
        return [b"ignored"]

    def at_empty(environ, start_response):
        start_response("200 OK", HEAD + [("Content-Length", "0")])
        return []

    def at_file(environ, start_response):
        start_response("200 OK", HEAD)
        return environ["wsgi.file_wrapper"](Noting(b"ignored"))
    """)
    for target in ("/list", "/empty", "/file"):
        answer = pair.get(target)
        assert (answer.status, answer.body, answer.header("Content-Type")) == (200, TEXT, "text/own")
    assert notes(pair.wsgi, "close file") == ["close file"]


def test_an_error_of_close_is_logged_and_the_answer_comes(pair):
    pair = pair(text="""
    class Failing(Body):
        def close(self):
            raise ValueError("in close")

    def at_failing(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/files/small.txt")])
        return Failing(b"x")
    """)
    answer = pair.wsgi.request("GET", "/failing")
    assert (answer.status, answer.body) == (200, TEXT)
    pair.server.wait_for_log("ValueError: in close")


def test_an_exception_instead_of_a_redirect_is_500(pair):
    pair = pair(text="""
    def at_raises(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/files/small.txt"), ("Set-Cookie", "a=1")])
        raise ValueError("boom")

    def at_replaced(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/files/small.txt"), ("Set-Cookie", "a=1")])
        try:
            raise ValueError("boom")
        except ValueError:
            start_response("200 OK", [("Content-Length", "4")], sys.exc_info())
        return [b"mine"]
    """)
    answer = pair.wsgi.request("GET", "/raises")
    assert (answer.status, answer.header("Set-Cookie")) == (500, None)
    # By uWSGI alone this is a broken answer.
    answer = pair.wsgi.request("GET", "/replaced")
    assert (answer.status, answer.header("Set-Cookie"), answer.body) == (200, None, b"mine")


def test_several_headers_the_first_counts(pair):
    pair = pair()
    assert pair.get(to("/text?first", ("X-Accel-Redirect", "/text?second"))).body == b"text GET first"


def test_the_name_in_any_case(pair):
    assert pair().get("/to?x-ACCEL-redirect=/text").body == b"text GET "


def test_in_a_subrequest(pair):
    pair = pair("location /page { ssi on; twin_pass; }")
    answer = pair.get("/page")
    assert answer.body.startswith(b"[" + TEXT + b"|")
    assert b'"/show"' in answer.body and b"seen" not in answer.body


def test_in_auth_request(pair):
    pair = pair("""
        location /open/ { auth_request /yes; alias %%FOLDER%%/files/; }
        location /closed/ { auth_request /no; alias %%FOLDER%%/files/; }
        location /lost/ { auth_request /nowhere; alias %%FOLDER%%/files/; }
        location = /yes { internal; rewrite ^ /to?X-Accel-Redirect=/fine? break; twin_pass; }
        location = /no { internal; rewrite ^ /to?X-Accel-Redirect=@deny? break; twin_pass; }
        location = /nowhere { internal; rewrite ^ /to?X-Accel-Redirect=/../x? break; twin_pass; }
        location = /fine { internal; return 204; }
        location @deny { return 403; }
        """)
    assert pair.get("/open/small.txt").body == TEXT
    assert pair.get("/closed/small.txt").status == 403
    assert pair.get("/lost/small.txt").status == 500


def test_ignored(pair):
    pair = pair(text="""
    def at_own(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/text"), ("Content-Length", "3")])
        return [b"own"]
    """, config="location /own { twin_ignore_headers X-Accel-Redirect; twin_pass; }")
    answer = pair.get("/own")
    assert (answer.body, answer.header("X-Accel-Redirect")) == (b"own", None)


def test_the_connection_stays_usable(pair):
    pair = pair()
    for side in pair.sides():
        client = side.connect()
        for _ in range(5):
            assert client.request("GET", to("/files/small.txt")).body == TEXT
            assert client.request("POST", to("@named"), body=b"body").json()[0] == "POST"
            assert client.request("GET", to("/files/nothing")).status == 404
            assert client.request("GET", "/hello").body == b"hello"


def test_what_was_written_is_thrown_away_too(pair):
    pair = pair(text="""
    def at_write(environ, start_response):
        write = start_response("200 OK", [("X-Accel-Redirect", "/text")])
        write(b"written")
        write(b"written")
        return [b"returned"]
    """)
    assert pair.get("/write").body == b"text GET "
    assert pair.get("/hello").body == b"hello"


def test_many_redirects_leave_memory_alone(pair):
    pair = pair()
    client = pair.wsgi.connect()
    targets = [to("/files/small.txt"), to("@named"), to("/show"), to("/files/nothing"), to("/../x")]
    for target in targets * 20:
        client.request("GET", target)
    before = rss(pair.server.worker)
    for target in targets * 150:
        client.request("GET", target)
    assert rss(pair.server.worker) - before < 4 * 1024 * 1024


def test_over_http_2(nginx):
    server = serve(nginx, APP, "location / { wsgi_pass app.py; } location /text { internal; return 200 text; }"
                               "location @named { rewrite ^ /show break; wsgi_pass app.py; }", h2c=True)
    client = server.h2()
    for _ in range(3):
        assert client.request("GET", to("/text")).body == b"text"
        assert client.request("POST", to("@named"), body=b"body").json()[3:5] == [4, "body"]
        assert client.request("GET", to("/../x")).status == 404
