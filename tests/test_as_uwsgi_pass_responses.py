"""Heads of ordinary answers beside those of uwsgi_pass: statuses, Location, cookies, Date, Server."""

import urllib.parse

import pytest

APP = """
    import urllib.parse

    def at_h(environ, start_response):
        environ["wsgi.input"].read()
        pairs = urllib.parse.parse_qsl(environ["QUERY_STRING"], encoding="latin-1", keep_blank_values=True)
        status = [value for name, value in pairs if name == "status"] or ["200 OK"]
        headers = [(name, value) for name, value in pairs if name != "status"]
        start_response(status[0], headers + [("Content-Length", "4")])
        return [b"body"]
    """


def query(*pairs):
    return "/h?" + urllib.parse.urlencode(pairs, encoding="latin-1")


def test_statuses(twins):
    pair = twins(APP)
    for status in ("200 OK", "201 Created", "202 Mine", "203 X", "206 Partial Content", "226 IM Used", "299 Own words",
                   "300 Choices", "301 Gone away", "302 Found", "303 See", "305 Proxy", "307 T", "308 P", "399 Odd",
                   "400 Bad", "401 Who", "402 Pay", "403 No", "404 Not here", "405 M", "408 T", "409 C", "410 G",
                   "412 P", "413 L", "416 R", "418 I'm a teapot", "422 U", "429 Slow", "444 N", "494 H", "499 C",
                   "500 Broken", "501 N", "502 B", "503 Later", "504 T", "505 V", "599 End"):
        answer = pair.get(query(("status", status), ("Content-Type", "text/x"), ("X-Own", "1")))
        assert (answer.status, answer.reason, answer.body) == (int(status[:3]), status[4:], b"body")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 T", "308 P", "201 Created", "200 OK"])
def test_location(twins, status):
    pair = twins(APP)
    for value in ("/local", "/local?x=1", "relative", "?x=1", "//host/x", "http://other.example/x", "#part", ".."):
        assert pair.get(query(("status", status), ("Location", value))).all("Location") == [value]


def test_redirects_of_nginxs_own_kind(twins):
    """`absolute_redirect` and the like concern nginx's redirects only."""
    pair = twins(APP, "absolute_redirect off; server_name_in_redirect on; location / { twin_pass; }")
    assert pair.get(query(("status", "302 F"), ("Location", "/x"))).header("Location") == "/x"


def test_repeated_headers(twins):
    pair = twins(APP)
    answer = pair.get(query(("Set-Cookie", "a=1"), ("set-cookie", "b=2; Path=/; HttpOnly"), ("X-R", "1"), ("x-r", "2"),
                            ("Set-Cookie", "c="), ("Link", "<1>"), ("Link", "<2>"), ("Cache-Control", "private"),
                            ("Cache-Control", "no-cache"), ("Vary", "A"), ("Vary", "B")))
    assert answer.all("Set-Cookie") == ["a=1", "b=2; Path=/; HttpOnly", "c="]


def test_date_and_server_of_the_application_replace_those_of_nginx(twins):
    pair = twins(APP)
    answer = pair.get(query(("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Server", "mine/1.0")))
    # As uwsgi_pass does it, unless it is told to hide them.
    assert answer.all("Date") == ["Mon, 01 Jan 2001 00:00:00 GMT"]
    assert answer.all("Server") == ["mine/1.0"]


@pytest.mark.parametrize("name, value", [
    ("Content-Type", "text/html"), ("Content-Type", "text/html; charset=utf-8"), ("Content-Type", 'a/b; charset="x"'),
    ("Content-Type", "a/b; x=y; charset=z"), ("Content-Type", "nonsense"), ("ETag", '"v"'), ("ETag", 'W/"v"'),
    ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Last-Modified", "nonsense"), ("Accept-Ranges", "bytes"),
    ("Content-Range", "bytes 0-3/10"), ("Content-Encoding", "x-own"), ("Content-Language", "en"), ("Refresh", "5; x"),
    ("Refresh", "5; url=/x"), ("Expires", "0"), ("Cache-Control", "max-age=5"), ("WWW-Authenticate", "Basic"),
    ("Age", "1"), ("Allow", "GET"), ("Warning", "x"), ("Pragma", "no-cache"), ("X-Empty", ""), ("X-Latin", "h\xe9"),
    ("Retry-After", "5"), ("Strict-Transport-Security", "max-age=1"), ("Content-MD5", "x"), ("Via", "x"),
])
def test_single_headers(twins, name, value):
    pair = twins(APP)
    for method in ("GET", "HEAD", "POST"):
        answer = pair.request(method, query((name, value)), body=b"x" if method == "POST" else None)
        assert answer.all(name) == [value]


def test_head(twins):
    pair = twins(APP)
    for status in ("200 OK", "404 No", "302 Found"):
        answer = pair.request("HEAD", query(("status", status), ("X-Own", "1")))
        assert (answer.status, answer.header("Content-Length"), answer.body) == (int(status[:3]), "4", b"")


def test_filters_of_nginx(twins):
    pair = twins(APP, "location / { expires 1h; add_header X-Added yes; add_header X-Always yes always; twin_pass; }"
                      "location /h/off { expires off; twin_pass; } location /h/max { expires max; twin_pass; }"
                      "location /h/epoch { expires epoch; add_trailer X-T t; twin_pass; }")
    for place in ("/h", "/h/off", "/h/max", "/h/epoch"):
        for pairs in ([], [("Cache-Control", "private")], [("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")],
                      [("status", "404 No")], [("status", "500 No"), ("Cache-Control", "private")]):
            # The clock may go on between the two.
            pair.get(place + query(*pairs)[2:], ignore=("Expires",) if place == "/h" else ())
