"""wsgi_ignore_headers, as uwsgi_pass does it: X-Accel headers that tell nginx nothing, and are hidden all the same."""

import pytest

from harness.conf import accepts, not_allowed, refuses, wrong_count

NAMES = ["X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset",
         "Expires", "Cache-Control", "Set-Cookie", "Vary"]
APP = """
    def at_all(environ, start_response):
        start_response("200 OK", [
            ("Content-Type", "text/html"), ("Content-Length", "4"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
            ("Cache-Control", "max-age=5"), ("Set-Cookie", "a=1"), ("Vary", "Accept"), ("X-Accel-Expires", "10"),
            ("X-Accel-Buffering", "no"), ("X-Accel-Charset", "windows-1251"), ("X-Accel-Limit-Rate", "100000")])
        return [b"body"]

    def at_redirect(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/text"), ("Content-Length", "3")])
        return [b"own"]
    """

MAP = "charset_map windows-1251 utf-8 { C0 D090; }"


@pytest.mark.parametrize("name", NAMES)
def test_each(twins, name):
    """Nothing disappears from the answer; those about caches tell nothing anyway."""
    pair = twins(APP, "location / { charset utf-8; twin_ignore_headers %s; twin_pass; }"
                      "location /text { return 200 text; }" % name, shared=MAP)
    answer = pair.get("/all")
    assert answer.header("Cache-Control") == "max-age=5" and answer.header("Set-Cookie") == "a=1"
    assert answer.header("Vary") == "Accept" and answer.header("Expires")
    charset = "utf-8" if name == "X-Accel-Charset" else "windows-1251"
    assert answer.header("Content-Type") == f"text/html; charset={charset}"
    assert not [key for key, _ in answer.headers if key.lower().startswith("x-accel")]
    assert pair.get("/redirect").body == (b"own" if name == "X-Accel-Redirect" else b"text")


def test_several_in_one_directive_and_in_any_case(twins):
    pair = twins(APP, "location / { charset utf-8; twin_ignore_headers x-accel-redirect X-ACCEL-CHARSET Vary;"
                      " twin_pass; }", shared=MAP)
    assert pair.get("/redirect").body == b"own"
    assert pair.get("/all").header("Content-Type") == "text/html; charset=utf-8"


def test_the_limit(twins):
    """Without the header the body comes at once; what it does is in the file about the X-Accel headers."""
    pair = twins("""
        def at_slow(environ, start_response):
            start_response("200 OK", [("X-Accel-Limit-Rate", "1"), ("Content-Length", "300000")])
            return [b"x" * 300_000]
        """, "location / { twin_ignore_headers X-Accel-Limit-Rate; twin_pass; }")
    assert len(pair.get("/slow").body) == 300_000


@pytest.mark.parametrize("http, server, location, own", [
    ("twin_ignore_headers X-Accel-Redirect;", "", "", True),
    ("", "twin_ignore_headers X-Accel-Redirect;", "", True),
    ("", "", "twin_ignore_headers X-Accel-Redirect;", True),
    ("twin_ignore_headers X-Accel-Redirect;", "twin_ignore_headers Vary;", "", False),
    ("twin_ignore_headers X-Accel-Redirect;", "", "twin_ignore_headers Vary;", False),
    ("", "twin_ignore_headers Vary;", "twin_ignore_headers X-Accel-Redirect;", True),
])
def test_inheritance(twins, http, server, location, own):
    pair = twins(APP, server + "location / { %s twin_pass; } location /text { return 200 text; }" % location,
                 http=http)
    assert pair.get("/redirect").body == (b"own" if own else b"text")


NAME = "wsgi_ignore_headers"


def test_values_accepted(nginx, app):
    app("")
    accepts(nginx("location / { %s %s; wsgi_pass app.py; }" % (NAME, " ".join(NAMES)), start=False))


@pytest.mark.parametrize("directive, message", [
    (f"{NAME};", wrong_count(NAME)),
    (f"{NAME} X-Other;", 'invalid value "X-Other"'),
    (f"{NAME} Vary off;", 'invalid value "off"'),
])
def test_refused(nginx, directive, message):
    refuses(nginx(f"\n{directive}\n", start=False), directive, message)


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: f"{NAME} Vary;"}), NAME, not_allowed(NAME))
