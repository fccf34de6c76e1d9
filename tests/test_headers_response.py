"""Response headers on the wire: nginx's own fields, repeats, order, Latin-1, HTTP/2."""

import urllib.parse

import pytest

from harness.apps import serve

HEADERS = """
    import urllib.parse

    def at_h(environ, start_response):
        pairs = urllib.parse.parse_qsl(environ["QUERY_STRING"], encoding="latin-1", keep_blank_values=True)
        status = [value for name, value in pairs if name == "status"] or ["200 OK"]
        start_response(status[0], [(name, value) for name, value in pairs if name != "status"])
        return [b"body"]
    """


def query(*pairs):
    return "/h?" + urllib.parse.urlencode(pairs, encoding="latin-1")


@pytest.fixture(params=["http/1.1", "http/2"])
def ask(request, nginx):
    server = serve(nginx, HEADERS, "location / { wsgi_pass app.py; default_type application/x-default; }", h2c=True)
    client = server.connect() if request.param == "http/1.1" else server.h2()
    return lambda *pairs, headers=(), method="GET": client.request(method, query(*pairs), list(headers))


def test_fields_that_nginx_keeps_for_itself_appear_once(ask):
    for name, value in (("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Server", "mine"), ("Content-Type", "text/x; a=b"),
                        ("Content-Encoding", "x-own"), ("ETag", '"v1"'), ("Content-Length", "4"),
                        ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Location", "http://other.example/x?y"),
                        ("WWW-Authenticate", 'Basic realm="x"'), ("Cache-Control", "no-store"), ("Vary", "Accept"),
                        ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Accept-Ranges", "none"), ("Allow", "GET"),
                        ("Content-Disposition", "attachment"), ("Link", "<x>; rel=y"), ("Refresh", "5"),
                        ("Content-Language", "en"), ("X-Accel-Nothing", "kept")):
        for spelled in (name, name.lower(), name.upper()):
            answer = ask((spelled, value))
            assert answer.all(name) == [value], spelled
            assert (answer.status, answer.body) == (200, b"body")


def test_content_type(ask):
    # Without one nothing is invented: default_type is for files.
    assert ask().header("Content-Type") is None
    for value in ("text/html", "text/html; charset=utf-8", "text/html;charset=KOI8-R", "a/b; x=\"y;z\"", "nonsense"):
        assert ask(("Content-Type", value)).all("Content-Type") == [value]


def test_repeated_headers_stay_apart_and_in_order(ask):
    answer = ask(("Set-Cookie", "a=1"), ("X-R", "1"), ("Set-Cookie", "b=2; Path=/"), ("X-R", "2"),
                 ("set-cookie", "c=3"), ("Link", "<1>"), ("Link", "<2>"), ("Cache-Control", "no-cache"), ("Cache-Control", "private"),
                 ("WWW-Authenticate", "Basic"), ("WWW-Authenticate", "Bearer"), ("Vary", "A"), ("Vary", "B"))
    assert answer.all("Set-Cookie") == ["a=1", "b=2; Path=/", "c=3"]
    assert answer.all("X-R") == ["1", "2"]
    assert answer.all("Link") == ["<1>", "<2>"]
    assert answer.all("Cache-Control") == ["no-cache", "private"]
    assert answer.all("WWW-Authenticate") == ["Basic", "Bearer"]
    assert answer.all("Vary") == ["A", "B"]


def test_many_and_long_headers(ask):
    pairs = [(f"X-N-{number}", str(number)) for number in range(150)]
    answer = ask(*pairs, ("X-Long", "v" * 3000))
    assert [answer.header(name) for name, _ in pairs] == [value for _, value in pairs]
    assert answer.header("X-Long") == "v" * 3000


def test_latin_1_and_empty_values(ask):
    answer = ask(("X-Latin", "h\xe9llo \xff\xa0"), ("X-Empty", ""), ("X-Space", "a  b"))
    assert answer.header("X-Latin") == "h\xe9llo \xff\xa0"
    assert answer.header("X-Empty") == ""
    assert answer.header("X-Space") == "a  b"


def test_location(ask):
    for value in ("http://other.example/x", "/local/path?q=1", "relative", "//host/x", "?query"):
        answer = ask(("status", "302 Found"), ("Location", value))
        assert (answer.status, answer.all("Location"), answer.body) == (302, [value], b"body")


def test_not_modified_is_made_by_nginx_from_the_validators_of_the_application(ask):
    date = "Mon, 01 Jan 2001 00:00:00 GMT"
    answer = ask(("Last-Modified", date), headers=[("If-Modified-Since", date)])
    assert (answer.status, answer.body) in ((304, b""), (200, b"body"))
    first = answer.status
    answer = ask(("ETag", '"v1"'), ("Last-Modified", date), headers=[("If-None-Match", '"v1"')])
    assert (answer.status, answer.body) == ((304, b"") if first == 304 else (200, b"body"))
    assert ask(("ETag", '"v1"'), headers=[("If-None-Match", '"v2"')]).status == 200
    # What is not a success is not conditional.
    answer = ask(("status", "404 Not Found"), ("ETag", '"v1"'), headers=[("If-None-Match", '"v1"')])
    assert (answer.status, answer.header("ETag")) == (404, '"v1"')


def test_statuses(ask):
    for status in (200, 201, 202, 203, 226, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 409, 410, 412, 413,
                   414, 416, 418, 422, 426, 429, 431, 444, 451, 494, 497, 499, 500, 501, 502, 503, 504, 505, 507, 511):
        answer = ask(("status", f"{status} Mine"), ("X-Kept", "1"))
        assert (answer.status, answer.body, answer.header("X-Kept")) == (status, b"body", "1")


def test_connection_headers_are_nginx_s_own(nginx):
    server = serve(nginx, HEADERS, "keepalive_timeout 7s 5s; location / { wsgi_pass app.py; }")
    client = server.connect()
    answer = client.request("GET", "/h")
    assert answer.all("Connection") == ["keep-alive"] and answer.all("Keep-Alive") == ["timeout=5"]
    answer = client.request("GET", "/h", [("Connection", "close")])
    assert answer.all("Connection") == ["close"] and client.closed()
