"""wsgi_intercept_errors, as uwsgi_pass does it: error pages of nginx instead of the application's own."""

import pytest

from harness.apps import forget, notes, wait_notes
from harness.nginx import VENDORED

APP = """
    def at_status(environ, start_response):
        environ["wsgi.input"].read()  # uWSGI resets a connection with a body that was not read
        status = environ["PATH_INFO"].split("/")[2]
        start_response(f"{status} Own", [("Content-Type", "text/x"), ("Content-Length", "3"), ("X-Own", "1"),
                                         ("Set-Cookie", "a=1"), ("Location", "http://elsewhere.example/"),
                                         ("WWW-Authenticate", "Basic realm=a")])
        return Body(b"own", name=status)

    def at_show(environ, start_response):
        body = environ["wsgi.input"].read().decode()
        return answer(start_response, [environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], body])

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
PAGES = """
    location /pages/ { alias %%FOLDER%%/pages/; }
    location @named { rewrite ^ /show?named=1? break; twin_pass; }
    location @return { return 200 "named $request_method"; }
    """
ON = "location / { twin_intercept_errors on; twin_pass; }"


@pytest.fixture
def pair(twins):
    def make(config, **options):
        made = twins(APP, config + PAGES, **options)
        folder = made.server.folder / "pages"
        folder.mkdir()
        for name in ("error.html", "other.html"):
            (folder / name).write_text(f"the page {name}\n")
        return made
    return make


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 400, 401, 403, 404, 405, 410, 418, 429, 500, 502,
                                    503, 504])
def test_to_a_static_file(pair, status):
    answer = pair(f"error_page {status} /pages/error.html; {ON}").get(f"/status/{status}")
    assert (answer.status, answer.body) == (status, b"the page error.html\n")
    # Of the head of the application nothing is left but what the client needs to log in.
    assert [answer.header(name) for name in ("X-Own", "Set-Cookie", "Location")] == [None] * 3
    assert answer.all("WWW-Authenticate") == (["Basic realm=a"] if status == 401 else [])


@pytest.mark.skipif(not VENDORED, reason="uwsgi_pass of older versions forgets all but the first")
def test_several_ways_to_log_in(twins):
    pair = twins("""
        def at_closed(environ, start_response):
            start_response("401 Own", [("WWW-Authenticate", "Basic realm=a"), ("WWW-Authenticate", "Bearer")])
            return [b"own"]
        """, ON + "error_page 401 @return;" + PAGES)
    assert pair.get("/closed").all("WWW-Authenticate") == ["Basic realm=a", "Bearer"]


@pytest.mark.parametrize("status", [200, 201, 204, 206, 299, 404, 500])
def test_without_a_matching_page(pair, status):
    pair = pair(f"error_page 503 403 /pages/error.html; {ON}")
    answer = pair.get(f"/status/{status}", ignore=("Content-Type", "Content-Length") if status == 204 else ())
    assert answer.status == status and answer.header("X-Own") == "1"
    assert answer.body == (b"" if status == 204 else b"own")


def test_without_any_page(pair):
    answer = pair(ON).get("/status/404")
    assert (answer.status, answer.body, answer.header("X-Own")) == (404, b"own", "1")


def test_off_by_default(pair):
    pair = pair("""
        error_page 404 500 /pages/error.html;
        location / { twin_pass; }
        location /status/500 { twin_intercept_errors off; twin_pass; }
        """)
    for status in (404, 500):
        answer = pair.get(f"/status/{status}")
        assert (answer.status, answer.body) == (status, b"own")


@pytest.mark.parametrize("page, status", [("=200 /pages/error.html", 200), ("= /pages/error.html", 200),
                                          ("=503 /pages/error.html", 503), ("=410 @return", 410), ("@return", 404),
                                          ("= @return", 200), ("= /status/500", 500), ("=204 /pages/error.html", 204),
                                          ("=302 http://elsewhere.example/y", 302),
                                          ("http://elsewhere.example/x", 302)])
def test_another_status(pair, page, status):
    answer = pair(f"error_page 404 {page}; {ON}").get("/status/404")
    assert answer.status == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("page", ["/pages/error.html", "/show", "@named", "@return"])
def test_methods(pair, method, page):
    """To a URI the method becomes GET, to a named location it stays, and so does the body."""
    body = b"body" if method in ("POST", "PUT") else None
    answer = pair(f"error_page 404 = {page}; {ON}").request(method, "/status/404", body=body)
    if page == "/show" and method != "HEAD":
        assert answer.json()[0] == "GET"
    if page == "@named" and method != "HEAD":
        assert answer.json()[0] == method and answer.json()[3] == (body or b"").decode()
    assert b"own" not in answer.body


def test_a_page_of_the_application(pair):
    pair = pair(f"error_page 404 500 /show?x=1; {ON}")
    answer = pair.get("/status/404")
    assert (answer.status, answer.json()[:3]) == (404, ["GET", "/show", "x=1"])


@pytest.mark.parametrize("recursive", ["on", "off"])
def test_a_page_that_is_an_error_itself(pair, recursive):
    pair = pair(f"recursive_error_pages {recursive}; error_page 404 /status/403; error_page 403 /status/402;"
                f"error_page 402 /pages/error.html; {ON}")
    answer = pair.get("/status/404")
    assert (b"the page error.html" in answer.body) == (recursive == "on")
    assert pair.get("/hello").body == b"hello"


def test_a_page_that_is_not_there(pair):
    answer = pair(f"error_page 404 500 /pages/nothing.html; {ON}").get("/status/500")
    assert b"own" not in answer.body


def test_a_page_that_is_itself_endless(pair):
    pair = pair(f"recursive_error_pages on; error_page 404 /status/404; {ON}")
    pair.get("/status/404")
    assert pair.get("/hello").body == b"hello"


@pytest.mark.parametrize("http, server, location, intercepted", [
    ("twin_intercept_errors on;", "", "", True), ("", "twin_intercept_errors on;", "", True),
    ("", "", "twin_intercept_errors on;", True), ("twin_intercept_errors on;", "", "twin_intercept_errors off;", False),
    ("twin_intercept_errors on;", "twin_intercept_errors off;", "", False),
    ("", "twin_intercept_errors off;", "twin_intercept_errors on;", True),
])
def test_inheritance(pair, http, server, location, intercepted):
    pair = pair(server + "error_page 404 /pages/error.html; location / { %s twin_pass; }" % location, http=http)
    assert (pair.get("/status/404").body != b"own") == intercepted


def test_close_comes_first_and_once_and_nothing_is_generated(pair):
    pair = pair(f"error_page 404 /show; {ON}")
    for _ in range(2):
        forget(pair.wsgi)
        pair.get("/status/404")
        assert wait_notes(pair.wsgi, "close") == ["close 404"]
        assert notes(pair.wsgi) == ["close 404"]


def test_what_nginx_says_itself_has_its_page_too(pair):
    pair = pair(f"error_page 413 500 /pages/error.html; client_max_body_size 3; {ON}")
    answer = pair.post("/hello", b"too long")
    assert (answer.status, answer.body) == (413, b"the page error.html\n")


def test_an_error_is_intercepted_before_a_redirect_is_followed(twins):
    pair = twins("""
        def at_both(environ, start_response):
            start_response("404 Own", [("X-Accel-Redirect", "/redirected")])
            return []
        """, ON + 'error_page 404 @page; location @page { return 404 "page"; } location /redirected { return 200; }')
    answer = pair.get("/both")
    assert (answer.status, answer.body) == (404, b"page")


def test_in_a_subrequest(pair):
    pair = pair(f"error_page 404 /pages/error.html; {ON}" """
        location /ssi { ssi on; ssi_types *; alias %%FOLDER%%/pages/page.html; }
        location /guarded { auth_request /status/401; return 200; }
        location /denied { auth_request /status/403; alias %%FOLDER%%/pages/error.html; }
        """)
    (pair.server.folder / "pages" / "page.html").write_text('[<!--#include virtual="/status/404" -->]')
    answer = pair.get("/ssi")
    assert (answer.status, answer.body) == (200, b"[the page error.html\n]")
    assert pair.get("/denied").status == 403


def test_the_connection_stays_usable(pair):
    pair = pair(f"error_page 404 500 /pages/error.html; {ON}")
    for side in pair.sides():
        client = side.connect()
        for _ in range(3):
            assert client.request("GET", "/status/404").body == b"the page error.html\n"
            assert client.request("HEAD", "/status/404").status == 404
            assert client.request("POST", "/status/404", body=b"x").body == b"the page error.html\n"
            assert client.request("GET", "/hello").body == b"hello"


def test_over_http_2(nginx, app):
    app("""
def application(environ, start_response):
    start_response("404 Own", [("X-Own", "1"), ("Content-Type", "text/x")])
    return [b"own"]
""")
    server = nginx("location / { wsgi_intercept_errors on; error_page 404 @page; wsgi_pass app.py; }"
                   'location @page { return 404 "page"; }', h2c=True)
    client = server.h2()
    for _ in range(3):
        answer = client.request("GET", "/")
        assert (answer.status, answer.body, answer.header("X-Own")) == (404, b"page", None)


def test_many_intercepted_requests_leave_nothing_behind(pair):
    pair = pair(f"error_page 404 /pages/error.html; {ON}")
    client = pair.wsgi.connect()
    for _ in range(200):
        assert client.request("GET", "/status/404").status == 404
    assert len(wait_notes(pair.wsgi, "close", 200)) == 200
    assert notes(pair.wsgi, "end") == []
