"""Applications as parts of other requests: SSI, auth_request, mirror, addition, and errors inside them."""

import pytest

from harness.apps import notes, serve, touch, wait_notes
from harness.nginx import BUILT_WITH, wait_for

PARTS = """
    HTML = [("Content-Type", "text/html")]

    def at_page(environ, start_response):
        start_response("200 OK", HTML)
        return [b"<" + b"|".join(b'<!--#include virtual="/%b" -->' % name.encode()
                                 for name in environ["QUERY_STRING"].split(",")) + b">"]

    def at_part(environ, start_response):
        name = environ["PATH_INFO"].split("/")[2]
        note("part", name, environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH"))
        start_response("200 OK", HTML)
        return Body(name.encode(), b"", b"-", name.encode() * 3, name="part")

    def at_big(environ, start_response):
        name = environ["PATH_INFO"].split("/")[2].encode()
        start_response("200 OK", HTML)
        return Body(*[name * 50000] * 40, name="big")

    def at_bigpage(environ, start_response):
        start_response("200 OK", HTML)
        def blocks():
            yield b'<!--#include virtual="/big/a" -->'
            yield b"middle" * 1000
            yield b'<!--#include virtual="/big/b" -->'
        return blocks()

    def at_nested(environ, start_response):
        depth = int(environ["PATH_INFO"].split("/")[2])
        start_response("200 OK", HTML)
        inner = b'<!--#include virtual="/nested/%d" -->' % (depth - 1) if depth else b""
        return iter([b"%d(" % depth, inner, b")"])

    def at_wait(environ, start_response):
        name = environ["PATH_INFO"].split("/")[2]
        start_response("200 OK", HTML)
        note("waiting", name)
        while not there(name):
            yield b""
        yield name.encode()

    def at_fails(environ, start_response):
        raise ValueError("in a part")

    def at_late(environ, start_response):
        start_response("200 OK", HTML)
        return Body(b"late", ValueError("in a part"))

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
SSI = "location / { ssi on; wsgi_pass app.py; }"


@pytest.mark.parametrize("http", ["1.1", "1.0", "2", "tls"])
def test_ssi_includes(nginx, http):
    server = serve(nginx, PARTS, SSI, tls=True, h2c=True)
    if http == "2":
        client = server.h2()
        def ask(target):
            return client.request("GET", target)
    else:
        def ask(target):
            return server.get(target, **({"tls": True} if http == "tls" else {"version": http}))
    assert ask("/page?part/a").body == b"<a-aaa>"
    assert ask("/page?part/a,part/b,part/c").body == b"<a-aaa|b-bbb|c-ccc>"
    assert ask("/nested/8").body == b"".join(b"%d(" % n for n in range(8, -1, -1)) + b")" * 9
    big = b"a" * 2_000_000
    assert ask("/page?big/a,part/b,big/c").body == b"<" + big + b"|b-bbb|" + b"c" * 2_000_000 + b">"
    assert ask("/bigpage").body == big + b"middle" * 1000 + b"b" * 2_000_000
    wait_notes(server, "close big", 4)


def test_parts_run_in_parallel_and_come_in_order(nginx):
    server = serve(nginx, PARTS, SSI)
    client = server.connect()
    client.send_request("GET", "/page?wait/first,wait/second,part/third")
    # All parts were started although the first one is not done: nginx runs them side by side.
    wait_notes(server, "waiting", 2)
    wait_notes(server, "part third")
    touch(server, "second")
    assert server.get("/hello").body == b"hello"
    touch(server, "first")
    assert client.read_response().body == b"<first|second|third-thirdthirdthird>"


def test_a_failing_part_leaves_the_rest(nginx):
    server = serve(nginx, PARTS, SSI)
    answer = server.get("/page?part/a,fails,part/b")
    assert answer.status == 200
    assert answer.body.startswith(b"<a-aaa|") and answer.body.endswith(b"|b-bbb>")
    server.wait_for_log('raised ValueError: in a part.*subrequest: "/fails"')
    client = server.connect()
    client.send_request("GET", "/page?part/a,late,part/b")
    client.read_response(strict=False)
    server.wait_for_log("raised ValueError: in a part after the headers were sent")
    assert server.get("/hello").body == b"hello"


def test_parts_with_a_slow_reader(nginx):
    server = serve(nginx, PARTS, SSI)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/page?big/a,big/b,part/c")
    other = server.connect()
    for _ in range(5):
        assert other.request("GET", "/hello").body == b"hello"
    assert client.read_response().body == b"<" + b"a" * 2_000_000 + b"|" + b"b" * 2_000_000 + b"|c-ccc>"


def test_parts_of_a_post_are_get_requests(nginx):
    server = serve(nginx, PARTS, SSI)
    answer = server.post("/page?part/a", b"x" * 10)
    assert answer.body == b"<a-aaa>"
    assert notes(server, "part a")[0].startswith("part a GET")


def test_ssi_with_stub_set_and_wait(nginx):
    server = serve(nginx, PARTS + """
    def at_blocks(environ, start_response):
        start_response("200 OK", HTML)
        return [b'<!--# include virtual="/part/x" set="got" -->[<!--# echo var="got" -->]'
                b'<!--# include virtual="/part/y" wait="yes" -->'
                b'<!--# block name="sorry" -->sorry<!--# endblock -->'
                b'<!--# include virtual="/fails" stub="sorry" -->']
    """, SSI)
    assert server.get("/blocks").body == b"[x-xxx]y-yyysorry"


AUTH = """
    def at_check(environ, start_response):
        note("check", environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH"), environ.get("HTTP_X_TOKEN"),
             environ["REQUEST_URI"], environ["PATH_INFO"])
        token = environ.get("HTTP_X_TOKEN")
        if token == "broken":
            raise ValueError("check is broken")
        status = {"good": "200 OK", "later": "200 OK", "none": "401 Who"}.get(token, "403 No")
        start_response(status, [("X-User", "alice"), ("WWW-Authenticate", "Token")])
        if token == "later":
            return Body(b"", b"ignored", b"body", name="check")
        return [b"ignored body"]

    def at_closed(environ, start_response):
        note("called")
        return answer(start_response, [environ.get("HTTP_X_USER"), environ["wsgi.input"].read().decode()])
    """


def test_auth_request_allows_and_denies(nginx):
    server = serve(nginx, AUTH, """
        location /closed { auth_request /check; auth_request_set $user $sent_http_x_user; add_header X-Who $user;
                           wsgi_pass app.py; wsgi_script_name ""; }
        location = /check { internal; wsgi_pass app.py; }
        """)
    client = server.connect()
    for token in ("good", "later"):
        answer = client.request("POST", "/closed", [("X-Token", token)], b"body")
        assert (answer.status, answer.json(), answer.header("X-Who")) == (200, [None, "body"], "alice")
    # nginx asks by GET, and of what the client asked for REQUEST_URI tells.
    method, _, token, asked_for, path = notes(server, "check")[0].split()[1:]
    assert (method, token, asked_for, path) == ("GET", "good", "/closed", "/check")
    for token, status in (("none", 401), ("bad", 403), ("broken", 500)):
        answer = server.get("/closed", [("X-Token", token)])
        assert answer.status == status and b"ignored" not in answer.body
        if status == 401:
            assert answer.header("WWW-Authenticate") == "Token"
    assert notes(server, "called") == ["called"] * 2
    wait_notes(server, "close check")
    assert client.request("GET", "/closed", [("X-Token", "good")]).status == 200


def test_mirror(nginx):
    server = serve(nginx, """
        def at_main(environ, start_response):
            return answer(start_response, environ["wsgi.input"].read())

        def at_copy(environ, start_response):
            note("copy", environ["REQUEST_METHOD"], environ["wsgi.input"].read().decode())
            start_response("200 OK", PLAIN)
            return Body(b"thrown", b"away" * 100000, name="copy")
        """, """
        location / { wsgi_pass app.py; mirror /copy; }
        location = /copy { internal; wsgi_pass app.py; }
        """, h2c=True)
    client = server.connect()
    for number in range(5):
        assert client.request("POST", "/main", body=b"%d" % number).body == b"%d" % number
    # A body is read already; its copy is the same.
    assert wait_notes(server, "copy", 5) == [f"copy POST {number}" for number in range(5)]
    assert server.h2().request("POST", "/main", body=b"h2").body == b"h2"
    wait_notes(server, "copy POST h2")
    wait_notes(server, "close copy", 6)


@pytest.mark.skipif("http_addition_module" not in BUILT_WITH, reason="nginx without addition")
def test_addition(nginx):
    server = serve(nginx, PARTS, """
        location / { wsgi_pass app.py; }
        location /hello { addition_types *; add_before_body /part/x; add_after_body /part/y; wsgi_pass app.py;
                          wsgi_script_name ""; }
        """)
    assert server.get("/hello").body == b"x-xxxhelloy-yyy"


def test_an_application_in_a_page_of_another_handler(nginx):
    server = serve(nginx, PARTS, "ssi on; location / { root %%FOLDER%%; } location /part { wsgi_pass app.py;"
                                 " wsgi_script_name \"\"; }", http="types { text/html html; }")
    (server.folder / "page.html").write_text('<p><!--#include virtual="/part/x" --></p>')
    assert server.get("/page.html").body == b"<p>x-xxx</p>"
    wait_for(lambda: notes(server, "close part"), "closed")
