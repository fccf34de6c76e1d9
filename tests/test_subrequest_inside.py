"""Subrequests among all that nginx does with requests: filters, redirects, and subrequests of other modules."""

import gzip

import pytest

from harness.apps import notes, touch, wait_notes
from harness.nginx import BUILT_WITH
from harness.subrequests import LARGE, ask, behind, outcomes, serve

pytestmark = pytest.mark.inline_only

SSI = LARGE + "ssi on; ssi_types text/plain;"

PAGES = """
    HTML = [("Content-Type", "text/html")]

    def at_page(environ, start_response):
        start_response("200 OK", HTML)
        return [b"<" + b"|".join(b'<!--#include virtual="/%b" -->' % name.encode()
                                 for name in environ["QUERY_STRING"].split(";")) + b">"]

    def at_composed(environ, start_response):
        '''A page of parts in brackets, which may be such pages.'''
        names = environ["QUERY_STRING"].split(",")
        outcomes = yield from ask(environ, *names)
        start_response("200 OK", HTML)
        for found in outcomes:
            yield b"[" + (found if isinstance(found, str) else found[2]).encode("latin-1") + b"]"

    def at_nested(environ, start_response):
        depth = int(environ["PATH_INFO"].split("/")[2])
        outcomes = yield from ask(environ, *[f"/nested/{depth - 1}"] * 2 if depth else [])
        start_response("200 OK", HTML)
        yield b"%d(" % depth
        for status, headers, body in outcomes:
            yield body.encode()
        yield b")"

    def at_wait(environ, start_response):
        name = environ["PATH_INFO"].split("/")[2]
        note("waiting", name)
        while not there(name):
            environ["ngx.sleep"](5)
            yield b""
        note("done", name)
        yield from answer(start_response, name.encode())

    def at_long(environ, start_response):
        start_response("200 OK", HTML)
        name = environ["PATH_INFO"].split("/")[2].encode()
        return iter([name * 10_000] * 30)
    """


def test_a_page_with_includes_within(nginx):
    server = serve(nginx, PAGES, server=SSI)
    [page, part, other] = ask(server, "/page?part/a;part/b;part/c", "/part/x", "/page?page?part/d;part/e")
    assert (page.body, part.body) == (b"<a|b|c>", b"x")
    assert other.body == b"<<d>|e>"


def test_additions_to_the_page(nginx):
    server = serve(nginx, PAGES, server=LARGE + """
        location = /composed { add_before_body /part/before; add_after_body /nested/1; wsgi_pass app.py; }
        """)
    assert server.get("/composed?/part/b,/part/c").body == b"before[b][c]1(0()0())"


def test_within_a_page_with_includes(nginx):
    server = serve(nginx, PAGES, server=SSI)
    assert server.get("/page?part/a;composed?/part/b;part/c").body == b"<a|[b]|c>"
    assert server.get("/page?composed?/part/b;composed?/part/c;part/d").body == b"<[b]|[c]|d>"
    assert server.get("/page?composed?/page?part/b").body == b"<[<b>]>"


def test_long_parts_within_both(nginx):
    server = serve(nginx, PAGES, server=SSI)
    a, b = b"a" * 300_000, b"b" * 300_000
    assert ask(server, "/page?long/a;long/b", "/long/b")[0].body == b"<" + a + b"|" + b + b">"
    assert server.get("/page?composed?/long/a;composed?/long/b;long/a").body == (
        b"<[" + a + b"]|[" + b + b"]|" + a + b">")


@pytest.mark.parametrize("http", ["1.1", "2", "tls"])
def test_nested(nginx, http):
    server = serve(nginx, PAGES, server=SSI, h2c=True, tls=True)
    def expected(depth):
        return b"%d(" % depth + expected(depth - 1) * 2 + b")" if depth else b"0()"
    if http == "2":
        body = server.h2().request("GET", "/nested/5").body
    else:
        body = server.get("/nested/5", tls=http == "tls").body
    assert body == expected(5)


def test_parts_of_parts_wait_side_by_side(nginx):
    """Neither the order of the page nor a part that waits keeps others from being made."""
    server = serve(nginx, PAGES, server=SSI)
    client = server.connect()
    client.send_request("GET", "/page?composed?/wait/one;composed?/wait/two;wait/three")
    wait_notes(server, "waiting", 3)
    for name in "three", "two":
        touch(server, name)
        wait_notes(server, f"done {name}")
    touch(server, "one")
    assert client.read_response().body == b"<[one]|[two]|three>"


def test_filters(nginx):
    packed = gzip.compress(b"packed foo", mtime=0)
    with behind(lambda handler, path, headers: handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
            % len(packed) + packed)) as other:
        server = serve(nginx, PAGES, server=SSI + f"""
            gzip on; gzip_min_length 0; gzip_types *; gunzip on;
            location = /far {{ proxy_pass http://127.0.0.1:{other.port}; }}
            location = /changed {{ sub_filter foo bar; sub_filter_types *; return 200 "a foo"; }}
            location = /greek {{ charset iso-8859-7; charset_types text/plain; return 200 alpha; }}
            """)
        (server.folder / "kept.bin").write_bytes(b"foo" * 10)
        answer = server.get("/ask?/far,/changed,/greek", [("Accept-Encoding", "gzip")])
        assert answer.header("Content-Encoding") == "gzip"
        answer.body = gzip.decompress(answer.body)
        far, changed, greek = outcomes(answer)
        assert (far.body, far.header("Content-Encoding")) == (b"packed foo", None)
        assert changed.body == b"a bar"
        assert greek.body == b"alpha"


REDIRECTS = """
    location = /tried { root %%FOLDER%%; try_files /none /there =404; }
    location = /there { root %%FOLDER%%; }
    location = /named { error_page 404 = @page; root %%FOLDER%%; }
    location @page { wsgi_pass app.py; }
    location = /own-error { error_page 404 /part/sorry; root %%FOLDER%%; }
    location = /rewritten { rewrite ^ /part/rewritten?; }
    location = /broken { error_page 500 502 /part/oops; wsgi_pass app.py; wsgi_intercept_errors on; }
    location = /secret { internal; root %%FOLDER%%; }
    location = /checked { auth_request /check; return 200; root %%FOLDER%%; }
    location = /refused { deny all; return 200; }
    location = /closes { return 444; }
    """


def test_redirects(nginx):
    server = serve(nginx, PAGES, """
        def at_named(environ, start_response):
            return answer(start_response, b"named")

        def at_accel(environ, start_response):
            start_response("200 OK", [("X-Accel-Redirect", "/secret"), ("Content-Type", "text/x-accel")])
            return [b"not this"]

        def at_broken(environ, start_response):
            raise ValueError("planned")
        """, server=LARGE + REDIRECTS)
    (server.folder / "there").write_text("there")
    (server.folder / "secret").write_text("secret")
    tried, named, own, rewritten, accel, broken, secret = ask(
        server, "/tried", "/named", "/own-error", "/rewritten", "/accel", "/broken", "/secret")
    assert (tried.status, tried.body) == (200, b"there")
    assert (named.status, named.body) == (200, b"named")
    assert (own.status, own.body) == (404, b"sorry")
    assert (rewritten.status, rewritten.body) == (200, b"rewritten")
    assert (accel.status, accel.body, accel.header("Content-Type")) == (200, b"secret", "text/x-accel")
    assert (broken.status, broken.body) == (500, b"oops")
    # A subrequest is internal.
    assert (secret.status, secret.body) == (200, b"secret")


def test_a_location_that_closes_the_connection(nginx):
    closes, x = ask(serve(nginx, server=REDIRECTS), "/closes", "/part/x")
    assert "broke off" in closes.error and x.body == b"x"


def test_an_application_that_raises(nginx):
    server = serve(nginx, """
        def at_raises(environ, start_response):
            raise ValueError("planned")

        def at_raises_late(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"begin"
            raise ValueError("planned")
        """)
    early, late, x = ask(server, "/raises", "/raises_late", "/part/x")
    assert early.status == 500 and b"Internal Server Error" in early.body
    assert "broke off" in late.error and x.body == b"x"


def test_an_include_of_a_part_that_raises(nginx):
    server = serve(nginx, PAGES, """
        def at_raises_late(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"begin"
            raise ValueError("planned")
        """, server=SSI)
    page, x = ask(server, "/page?part/a;raises_late;part/b", "/part/x")
    assert "broke off" in page.error and x.body == b"x"


@pytest.mark.skipif("auth_request" not in BUILT_WITH, reason="nginx without auth_request")
def test_in_a_check_of_auth_request(nginx):
    server = serve(nginx, """
        def at_check(environ, start_response):
            [user] = yield from ask(environ, "/part/alice")
            start_response("204 OK", [("X-User", user[2])])

        def at_page(environ, start_response):
            [part] = yield from ask(environ, "/part/page")
            yield from answer(start_response, part[2].encode())
        """, server="""
        location = /check { internal; wsgi_pass app.py; }
        location = /page { auth_request /check; auth_request_set $who $sent_http_x_user; wsgi_pass app.py;
                           add_header X-Who $who; }
        """)
    answer = server.get("/page")
    assert (answer.status, answer.body) == (200, b"page")


def test_in_a_part_that_another_module_keeps_in_memory(nginx):
    """nginx does not nest them."""
    server = serve(nginx, """
        def at_kept(environ, start_response):
            try:
                environ["ngx.subrequest"]("/part/x")
            except RuntimeError as error:
                return answer(start_response, str(error).encode())

        def at_page(environ, start_response):
            return answer(start_response, b'<!--#include virtual="/kept" set="x" -->(<!--#echo var="x" -->)')
        """, server=SSI)
    assert server.get("/page").body == b"(nginx does not nest subrequests whose response is kept in memory)"


def test_in_the_background(nginx):
    server = serve(nginx, """
        def at_mirrored(environ, start_response):
            note(raised(environ["ngx.subrequest"], "/part/x"))
            return answer(start_response, b"")
        """, server="location = /page { mirror /mirrored; return 200 page; root %%FOLDER%%; try_files /page =404; }"
             "location = /seen { mirror /mirrored; root %%FOLDER%%; }")
    (server.folder / "seen").write_text("seen")
    assert server.get("/seen").body == b"seen"
    assert wait_notes(server, "RuntimeError")


def test_an_error_page_that_has_parts(nginx):
    server = serve(nginx, PAGES, server=LARGE + "location = /none { error_page 404 /composed?/part/a,/part/b; "
                                         "root %%FOLDER%%; }")
    answer = server.get("/none")
    assert (answer.status, answer.body) == (404, b"[a][b]")
    assert not notes(server, "waiting")
