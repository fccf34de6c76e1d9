"""An application that puts an attacker's text into its answer: 500 and a line in the log, or the text as it is, never
a second answer. test_headers_injection.py has which characters are refused where; this is what a client gets of it.
"""

import functools
import re
from urllib.parse import quote

import pytest

from harness.apps import notes, serve, wait_notes

pytestmark = pytest.mark.once

APP = """
    from urllib.parse import unquote

    def text(environ):
        return unquote(environ["QUERY_STRING"], errors="surrogateescape")

    def at_status(environ, start_response):
        start_response("200 " + text(environ), PLAIN)
        return Body(b"body")

    def at_code(environ, start_response):
        start_response(text(environ), PLAIN)
        return Body(b"body")

    def at_name(environ, start_response):
        start_response("200 OK", [("X-A" + text(environ), "b")])
        return Body(b"body")

    def at_value(environ, start_response):
        start_response("200 OK", [("X-A", "b" + text(environ))])
        return Body(b"body")

    def at_location(environ, start_response):
        start_response("302 Found", [("Location", "/x" + text(environ))])
        return Body(b"body")

    def at_cookie(environ, start_response):
        start_response("200 OK", [("Set-Cookie", "a=" + text(environ)), ("Set-Cookie", "b=c")])
        return Body(b"body")

    def at_type(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain" + text(environ))])
        return Body(b"body")

    def at_disposition(environ, start_response):
        start_response("200 OK", [("Content-Disposition", 'attachment; filename="%s"' % text(environ))])
        return Body(b"body")

    def at_accel(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/page?" + text(environ))])
        return Body(b"body")

    def at_write(environ, start_response):
        start_response("200 OK", [("X-A", "b" + text(environ))])(b"written")
        return Body(b"body")

    def at_late(environ, start_response):
        # In place of a head that was right.
        start_response("200 OK", PLAIN)
        try:
            raise ValueError
        except ValueError:
            start_response("200 OK", [("X-A", "b" + text(environ))], sys.exc_info())
        return Body(b"body")

    def at_length(environ, start_response):
        start_response("200 OK", [("Content-Length", text(environ))])
        return Body(b"body")

    def at_plain(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(b"plain", name="plain")
    """
CONFIG = "location / { wsgi_pass app.py; } location /page { internal; return 200 page; }"
SECOND = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!"
SPLIT = [f"\r\n\r\n{SECOND}", "\r\nX-Evil: 1", "\nX-Evil: 1", "\rX-Evil: 1", "\r\n X-Evil: 1",
         "\r\nContent-Length: 0\r\n\r\n",
         "\r\nTransfer-Encoding: chunked", "\0", "a\0\r\nX-Evil: 1", "\u560d\u560aX-Evil: 1", "\u010d\u010aX-Evil: 1",
         "\u2028X-Evil: 1", "\x0bX-Evil: 1", "\x7f", "\x1b[31m", "\u20ac", "\udcff"]
WHERE = ["status", "code", "name", "value", "location", "cookie", "type", "disposition", "accel", "write", "late",
         "length"]


@pytest.mark.parametrize("http", ["1", "2"])
@pytest.mark.parametrize("threads", ["", "wsgi_threads 2;"], ids=["inline", "threads"])
def test_text_that_would_split(nginx, http, threads):
    """500, nothing of the application's in it, one entry in the log, and the connection goes on with the next."""
    server = serve(nginx, APP, f"{threads} {CONFIG}", h2c=True)
    # nginx closes a connection of HTTP/1 after a 500 by itself.
    get = functools.partial(server.h2().request, "GET") if http == "2" else server.get
    for where in WHERE:
        for text in SPLIT:
            since = server.log_size()
            answer = get(f"/{where}?{quote(text, errors='surrogatepass')}")
            context = f"{where} {text!r}: {answer!r}"
            assert answer.status == 500 and b"evil" not in bytes(answer.body), context
            names = {name.lower() for name, _ in answer.headers}
            assert names <= {"server", "date", "content-type", "content-length", "connection"}, f"{context} {names}"
            raised = server.wait_for_log(r'app\.py" raised (Value|Type|UnicodeEncode)Error: ', since=since)
            assert len(raised) == 1, context
            assert get("/plain").body == b"plain", context
    # No iterable was made of an answer that was refused, so none is closed.
    assert set(wait_notes(server, "close", len(WHERE) * len(SPLIT))) == {"close plain"}
    assert len(notes(server, "close")) == len(WHERE) * len(SPLIT)


@pytest.mark.parametrize("http", ["1", "2"])
def test_text_that_only_looks_like_it(nginx, http):
    """Escapes that nobody decodes, and bytes above 127: they arrive as they are."""
    server = serve(nginx, APP, CONFIG, h2c=True)
    client = server.h2() if http == "2" else server.connect()
    for text in ("%0d%0aX-Evil: 1", "\\r\\nX-Evil: 1", "\xc4\x8d\xc4\x8aX-Evil: 1", "\x8d\x8aX-Evil: 1",
                 "&#13;&#10;X-Evil: 1",
                 "=?utf-8?q?=0D=0A?=", "\xe5\x98\x8d\xe5\x98\x8aX-Evil: 1", '"; X-Evil: 1', ": X-Evil", ", X-Evil: 1"):
        answer = client.request("GET", f"/value?{quote(text)}")
        assert answer.status == 200 and answer.all("X-A") == ["b" + text], f"{text!r}: {answer.headers}"
        assert answer.header("X-Evil") is None
        assert client.request("GET", "/plain").body == b"plain"


def test_a_length_that_is_none(nginx):
    """Two readers that take it for two lengths see two answers: only plain digits go out."""
    server = serve(nginx, APP, CONFIG)
    for text in ("4, 4", "+4", "-1", "0x4", " 4", "4 ", "4;", "", "99999999999999999999", "4\t", "\uff14", "04"):
        head = server.get(f"/length?{quote(text)}").head
        lengths = re.findall(rb"(?im)^content-length:(.*?)\r?$", head + b"\r\n")
        assert len(lengths) == 1 and re.fullmatch(rb" [1-9]\d*", lengths[0]), f"{text!r}: {head}"
        assert head.split()[1] == (b"200" if text == "04" else b"500"), f"{text!r}: {head}"
