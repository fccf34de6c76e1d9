"""wsgi_hide_header and wsgi_pass_header, as uwsgi_pass does it: which headers of the application the client sees."""

import urllib.parse

import pytest

APP = """
    import urllib.parse

    def at_h(environ, start_response):
        pairs = urllib.parse.parse_qsl(environ["QUERY_STRING"], encoding="latin-1", keep_blank_values=True)
        status = [value for name, value in pairs if name == "status"] or ["200 OK"]
        headers = [("Content-Type", "text/plain"), ("Content-Length", "4")]
        if environ["REQUEST_METHOD"] != "HEAD":
            note("called")
        start_response(status[0], headers + [(name, value) for name, value in pairs if name != "status"])
        return [b"body"]
    """
ACCEL = [("X-Accel-Expires", "10"), ("X-Accel-Limit-Rate", "1000000"), ("X-Accel-Buffering", "no"),
         ("X-Accel-Charset", "koi8-r")]


def query(*pairs):
    return "/h?" + urllib.parse.urlencode(pairs, encoding="latin-1")


def test_hidden_by_default(twins):
    pair = twins(APP)
    answer = pair.get(query(*ACCEL, ("X-Accel-Other", "seen"), ("X-Accel", "seen"), ("x-accel-charset", "utf-8")))
    assert [name.lower() for name, _ in answer.headers if "accel" in name.lower()] == ["x-accel-other", "x-accel"]
    assert answer.body == b"body"


def test_status_is_hidden_and_says_nothing(twins):
    """The only difference: uWSGI leaves it to nginx's configuration to hide this one."""
    pair = twins(APP, "location / { twin_pass; twin_hide_header Nothing; } location /h { uwsgi_hide_header Status;"
                      " twin_pass; }")
    answer = pair.get(query(("Status", "404 Not Found"), ("X-Seen", "1")))
    assert (answer.status, answer.header("Status"), answer.header("X-Seen")) == (200, None, "1")


def test_status_can_be_passed(twins):
    pair = twins(APP, "location / { twin_pass_header Status; twin_pass; }")
    answer = pair.get(query(("Status", "404 Not Found")))
    assert (answer.status, answer.header("Status")) == (200, "404 Not Found")


def test_hide(twins):
    pair = twins(APP, """location / {
        twin_hide_header X-One; twin_hide_header x-two; twin_hide_header SET-COOKIE; twin_hide_header X-Absent;
        twin_pass; }""")
    answer = pair.get(query(("X-One", "1"), ("X-Two", "2"), ("x-one", "3"), ("X-Three", "3"), ("Set-Cookie", "a=1"),
                            ("Set-Cookie", "b=2"), ("X-One-More", "4"), ("X-On", "5")))
    names = [name for name, _ in answer.headers]
    assert [name for name in ("X-One", "X-Two", "x-one", "Set-Cookie") if name in names] == []
    assert [answer.header(name) for name in ("X-Three", "X-One-More", "X-On")] == ["3", "4", "5"]


@pytest.mark.parametrize("name, value", [
    ("Content-Type", "text/html"), ("Last-Modified", "Mon, 01 Jan 2001 00:00:00 GMT"), ("ETag", '"v1"'),
    ("Cache-Control", "no-store"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Accept-Ranges", "none"),
    ("Content-Encoding", "x-own"), ("WWW-Authenticate", "Basic"), ("Vary", "Accept"), ("Link", "<x>"),
    ("Content-Disposition", "attachment"), ("Refresh", "5"), ("Content-Language", "en"), ("Content-Range", "x"),
])
def test_hide_headers_that_nginx_knows(twins, name, value):
    pair = twins("""
        def at_h(environ, start_response):
            name, _, value = environ["wsgi.input"].read().decode().partition("=")
            start_response("200 OK", [("Content-Length", "4"), (name, value), ("X-Seen", "1")])
            return [b"body"]
        """, f"location / {{ twin_hide_header {name}; twin_pass; }}")
    answer = pair.post("/h", f"{name}={value}".encode())
    assert (answer.status, answer.all(name), answer.header("X-Seen"), answer.body) == (200, [], "1", b"body")


def test_hidden_date_and_server_are_nginxs(twins):
    pair = twins(APP, "location / { twin_hide_header Date; twin_hide_header Server; twin_pass; }")
    answer = pair.get(query(("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Server", "mine")))
    assert answer.all("Server")[0].startswith("nginx") and len(answer.all("Server")) == 1
    (date,) = answer.all("Date")
    assert "2001" not in date


def test_hidden_location(twins):
    pair = twins(APP, "location / { twin_hide_header Location; twin_pass; }")
    answer = pair.get(query(("status", "302 Found"), ("Location", "/elsewhere")))
    assert (answer.status, answer.header("Location"), answer.body) == (302, None, b"body")


def test_a_hidden_content_length_is_known_nevertheless(twins):
    answer = twins(APP, "location / { twin_hide_header Content-Length; twin_pass; }").get("/h")
    assert (answer.header("Content-Length"), answer.body) == ("4", b"body")


def test_pass_shows_what_is_hidden_by_default(twins):
    pair = twins(APP, "location / { %s twin_pass; }" % " ".join(f"twin_pass_header {name};" for name, _ in ACCEL))
    answer = pair.get(query(*ACCEL))
    for name, value in ACCEL:
        assert answer.all(name) == [value]


def test_pass_redirect_shows_it_only_where_it_is_ignored(twins):
    pair = twins(APP, """
        location / { twin_pass_header X-Accel-Redirect; twin_ignore_headers X-Accel-Redirect; twin_pass; }
        """)
    answer = pair.get(query(("X-Accel-Redirect", "/else")))
    assert (answer.body, answer.header("X-Accel-Redirect")) == (b"body", "/else")


def test_pass_date_and_server(twins):
    pair = twins(APP, "location / { twin_pass_header Date; twin_pass_header Server; twin_pass; }")
    answer = pair.get(query(("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Server", "mine")))
    assert answer.all("Date") == ["Mon, 01 Jan 2001 00:00:00 GMT"]
    assert answer.all("Server") == ["mine"]


def test_pass_wins_over_hide(twins):
    pair = twins(APP, """
        location / { twin_hide_header X-One; twin_pass_header x-one; twin_hide_header X-Two; twin_pass; }
        """)
    answer = pair.get(query(("X-One", "1"), ("X-Two", "2")))
    assert (answer.header("X-One"), answer.header("X-Two")) == ("1", None)


PAIRS = [("X-One", "1"), ("X-Two", "2"), ("X-Three", "3"), ("X-Accel-Expires", "4")]


@pytest.mark.parametrize("http, server, location, seen", [
    ("twin_hide_header X-One;", "", "", "23"),
    ("twin_hide_header X-One;", "twin_hide_header X-Two;", "", "13"),
    ("twin_hide_header X-One;", "twin_hide_header X-Two;", "twin_hide_header X-Three;", "12"),
    ("twin_hide_header X-One;", "", "twin_pass_header X-Accel-Expires;", "234"),
    ("twin_pass_header X-Accel-Expires;", "twin_hide_header X-One;", "", "234"),
    ("twin_pass_header X-Accel-Expires;", "twin_pass_header X-Else;", "", "123"),
    ("twin_hide_header X-One; twin_pass_header X-Accel-Expires;", "", "twin_hide_header X-Two;", "134"),
    ("twin_hide_header X-One;", "twin_pass_header X-One;", "", "123"),
    ("", "twin_hide_header X-One;", "twin_pass_header X-One;", "123"),
])
def test_inheritance(twins, http, server, location, seen):
    """Those of outer levels count only where none is given, for each of the two directives on its own."""
    pair = twins(APP, server + "location / { %s twin_pass; }" % location, http=http)
    answer = pair.get(query(*PAIRS))
    assert "".join(value for name, value in answer.headers if (name, value) in PAIRS) == seen


def test_locations_of_one_server_differ(twins):
    pair = twins(APP, """
        location / { twin_pass; }
        location /h { twin_hide_header X-One; twin_pass;
                      location ~ /h/inner { twin_pass; }
                      location ~ /h/other { twin_hide_header X-Two; twin_pass; } }
        """)
    shown = {}
    for target in ("/h", "/h/inner", "/h/other"):
        answer = pair.get(target + query(("X-One", "1"), ("X-Two", "2"))[2:])
        shown[target] = [name for name in ("X-One", "X-Two") if answer.header(name)]
    assert shown == {"/h": ["X-Two"], "/h/inner": ["X-Two"], "/h/other": ["X-One"]}


def test_without_a_body_too(twins):
    pair = twins(APP, "location / { twin_hide_header X-One; twin_pass; }")
    answer = pair.request("HEAD", query(("X-One", "1"), ("X-Two", "2")))
    assert (answer.header("X-One"), answer.header("X-Two")) == (None, "2")
    # Whether an answer without a body has a type and a length is another matter.
    answer = pair.get(query(("status", "204 None"), ("X-One", "1"), ("X-Two", "2"), ("X-Accel-Expires", "3")),
                      ignore=("Content-Type", "Content-Length"))
    assert (answer.status, answer.header("X-One"), answer.header("X-Two")) == (204, None, "2")


def test_over_http_2(nginx, app):
    app("""
def application(environ, start_response):
    start_response("200 OK", [("X-One", "1"), ("X-Two", "2"), ("X-Accel-Expires", "3")])
    return [b"body"]
""")
    server = nginx("location / { wsgi_hide_header x-ONE; wsgi_pass app.py; }", h2c=True)
    answer = server.h2().request("GET", "/")
    assert [answer.header(name) for name in ("X-One", "X-Two", "X-Accel-Expires")] == [None, "2", None]
