"""What nginx makes of answers of threads: redirects, ranges, parts, permissions, error pages, filters."""

import gzip

import pytest

from harness.apps import notes, touch, wait_notes
from harness.threads import ask, serve, wait_in_nginx

BODY = b"".join(b"%04d " % number for number in range(20_000))
APP = """
    HTML = [("Content-Type", "text/html")]
    BODY = b"".join(b"%04d " % number for number in range(20_000))

    def at_accel(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", environ["QUERY_STRING"]), ("X-Kept", "yes")])
        return Body(b"never", b"seen", name="accel")

    def at_show(environ, start_response):
        return answer(start_response, [environ["REQUEST_METHOD"], environ["PATH_INFO"],
                                       environ["wsgi.input"].read().decode(), environ.get("HTTP_X_USER")])

    def at_body(environ, start_response):
        start_response("200 OK", [*PLAIN, ("ETag", '"one"')])
        return [BODY]

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        return iter([BODY[:50_000], BODY[50_000:]])

    def at_page(environ, start_response):
        start_response("200 OK", HTML)
        return [b"<" + b"|".join(b'<!--#include virtual="%b" -->' % name.encode()
                                 for name in environ["QUERY_STRING"].split(",")) + b">"]

    def at_part(environ, start_response):
        name = environ["PATH_INFO"].split("/")[-1].encode()
        start_response("200 OK", HTML)
        return Body(name, b"", b"-", name * 3, name="part")

    def at_large(environ, start_response):
        start_response("200 OK", HTML)
        return Body(*[b"l" * 100_000] * 10, name="large")

    def at_meet(environ, start_response):
        note("meet")
        barrier.wait(20)
        start_response("200 OK", HTML)
        return [b"met"]

    barrier = threading.Barrier(2)

    def at_check(environ, start_response):
        good = environ.get("HTTP_X_TOKEN") == "good"
        start_response("204 OK" if good else "403 No", [("X-User", "alice")])
        return [] if good else [b"ignored"]

    def at_fails(environ, start_response):
        raise ValueError("fails")

    def at_sorry(environ, start_response):
        start_response("500 Sorry", PLAIN)
        return [b"sorry for ", environ["REQUEST_URI"].encode()]

    def at_status(environ, start_response):
        start_response(environ["QUERY_STRING"] + " Status", PLAIN)
        return [b"own page"]
    """


def test_x_accel_redirect(nginx):
    server = serve(nginx, APP, more="""
        location /files/ { internal; alias %%FOLDER%%/static/; }
        location @named { rewrite ^ /show break; wsgi_pass app.py; }
        """, h2c=True)
    h2 = server.h2()
    for ask_for in (server.get, lambda target: h2.request("GET", target)):
        assert ask_for("/accel?/files/file.txt").body == b"static"
        assert ask_for("/accel?/ok").body == b"ok"
        assert ask_for("/accel?/show").json()[:2] == ["GET", "/show"]
        assert ask_for("/accel?@named").json()[0] == "GET"
        assert ask_for("/accel?/files/missing").status == 404
    wait_notes(server, "close accel", 10)
    assert len(notes(server, "close accel")) == 10
    assert server.post("/accel?/show", b"body").json()[0] == "GET"


def test_ranges_and_validation(nginx):
    server = serve(nginx, APP, http="wsgi_allow_ranges on;", h2c=True)
    h2 = server.h2()
    for ask_for in (server.get, lambda target, headers: h2.request("GET", target, headers)):
        answer = ask_for("/body", [("Range", "bytes=10-19")])
        assert (answer.status, bytes(answer.body)) == (206, BODY[10:20])
        answer = ask_for("/body", [("Range", "bytes=-5")])
        assert (answer.status, bytes(answer.body)) == (206, BODY[-5:])
        answer = ask_for("/body", [("If-None-Match", '"one"')])
        assert (answer.status, bytes(answer.body)) == (304, b"")


@pytest.mark.parametrize("target", ["/body", "/stream"])
def test_gzip_and_other_filters(nginx, target):
    server = serve(nginx, APP, http="gzip on; gzip_types text/plain; add_header X-Added yes;", h2c=True)
    answer = server.get(target, [("Accept-Encoding", "gzip")])
    assert answer.header("Content-Encoding") == "gzip" and gzip.decompress(answer.body) == BODY
    assert answer.header("X-Added") == "yes"
    answer = server.h2().request("GET", target, [("Accept-Encoding", "gzip")])
    assert gzip.decompress(bytes(answer.body)) == BODY


@pytest.mark.parametrize("threads", ["1", "4", "1 queue=100"])
def test_includes_of_threaded_locations(nginx, threads):
    """Also of the only thread, which the page itself has left by then."""
    server = serve(nginx, APP, server=f"""
        ssi on;
        location / {{ wsgi_threads {threads}; wsgi_pass app.py; }}
        location /two/ {{ wsgi_threads 2; wsgi_pass two.py; }}
        """, h2c=True, apps={"two.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    return iter([b"two", environ["PATH_INFO"].encode()])
"""})
    wanted = b"<a-aaa|two/x|" + b"l" * 1_000_000 + b"|b-bbb>"
    target = "/page?/part/a,/two/x,/large,/part/b"
    for _ in range(3):
        assert server.get(target).body == wanted
        assert bytes(server.h2().request("GET", target).body) == wanted
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", target)
    assert client.read_response().body == wanted
    assert len(wait_notes(server, "close large", 7)) == 7


@pytest.mark.parametrize("threads", [1, 2])
def test_a_page_and_its_parts_never_wait_for_each_other(nginx, threads):
    """What is postponed behind a part does not keep the thread that the part needs."""
    server = serve(nginx, """
        def at_nested(environ, start_response):
            depth = int(environ["PATH_INFO"].split("/")[2])
            start_response("200 OK", [("Content-Type", "text/html")])
            inner = b'<!--#include virtual="/nested/%d" -->' % (depth - 1) if depth else b""
            return Body(b"%d(" % depth, inner, b"x" * 1000, b")", name=depth)

        def at_written(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/html")])
            write(b'<<!--#include virtual="/nested/1" -->')
            write(b"|")
            return [b">"]
        """, threads=threads, http="ssi on;", h2c=True)
    nested = b"".join(b"%d(" % depth for depth in range(5, -1, -1)) + (b"x" * 1000 + b")") * 6
    h2 = server.h2()
    for ask_for in (server.get, lambda target: h2.request("GET", target)):
        assert bytes(ask_for("/nested/5").body) == nested
        assert bytes(ask_for("/written").body) == b"<1(0(" + (b"x" * 1000 + b")") * 2 + b"|>"
    assert server.get("/hello").body == b"hello"
    assert len(wait_notes(server, "close", 16)) == 16


def test_an_error_page_for_what_nginx_answers_in_our_place(nginx):
    """Found only as the head is sent: nginx comes back for the page."""
    server = serve(nginx, APP, server="wsgi_threads 2; location / { wsgi_pass app.py; error_page 412 416 /sorry; }",
                   http="wsgi_allow_ranges on;")
    for headers, status in (([("If-Match", '"two"')], 412), ([("Range", "bytes=9999999-")], 416)):
        for _ in range(2):
            answer = server.get("/body", headers)
            assert (answer.status, answer.body) == (status, b"sorry for /body")
    assert server.get("/body").body == BODY


def test_parts_run_in_several_threads(nginx):
    server = serve(nginx, APP, threads=3, http="ssi on;")
    assert server.get("/page?/meet,/ok,/meet").body == b"<met|ok|met>"


def test_a_page_of_a_file_with_parts(nginx):
    server = serve(nginx, APP, http="ssi on; types { text/html html; }",
                   apps={"static/page.html": '<p><!--#include virtual="/part/x" --></p>'})
    assert server.get("/static/page.html").body == b"<p>x-xxx</p>"


def test_failing_and_refused_parts_leave_the_rest(nginx):
    server = serve(nginx, APP, threads="1 queue=1", http="ssi on;", more="types { text/html html; }", apps={
        "static/page.html": '<<!--#include virtual="/part/a" -->|<!--#include virtual="/part/b" -->|'
                            '<!--#include virtual="/ok" -->>'})
    answer = server.get("/page?/fails,/ok")
    assert answer.body.startswith(b"<") and answer.body.endswith(b"|ok>")
    server.wait_for_log('raised ValueError: fails.*subrequest: "/fails"')
    waits = ask(server, "/wait?go")
    wait_notes(server, "wait")
    page = ask(server, "/static/page.html")
    # There is room for one of the two parts.
    server.wait_for_log('is full .* subrequest: "/part/b"')
    touch(server, "go")
    assert waits.read_response().body == b"go"
    answer = page.read_response()
    assert answer.body.startswith(b"<a-aaa|") and answer.body.endswith(b"|ok>") and b"b-bbb" not in answer.body


def test_a_main_request_gone_while_its_part_is_queued(nginx):
    server = serve(nginx, APP, threads="1", http="ssi on;",
                   apps={"static/page.html": '<p><!--#include virtual="/hello" --></p>'},
                   more="types { text/html html; }")
    waits = ask(server, "/wait?go")
    wait_notes(server, "wait")
    leaves = server.connect()
    leaves.send_request("GET", "/static/page.html")
    wait_in_nginx(server, 2)
    leaves.reset()
    wait_in_nginx(server, 1)
    touch(server, "go")
    assert waits.read_response().body == b"go"
    assert server.get("/ok").body == b"ok"


def test_auth_request(nginx):
    server = serve(nginx, APP, threads=1, more="""
        location /closed { auth_request /check; auth_request_set $user $sent_http_x_user; wsgi_var HTTP_X_USER $user;
                           rewrite ^ /show break; wsgi_pass app.py; wsgi_script_name ""; }
        location /file { auth_request /check; alias %%FOLDER%%/static/file.txt; }
        """)
    for _ in range(3):
        answer = server.post("/closed", b"body", [("X-Token", "good")])
        assert answer.status == 200 and answer.json()[0] == "POST" and answer.json()[2:] == ["body", "alice"]
        assert server.get("/closed").status == 403
        assert server.get("/file", [("X-Token", "good")]).body == b"static"
        assert server.get("/file").status == 403


def test_error_pages_by_a_thread(nginx):
    server = serve(nginx, APP, more="""
        location /fails { error_page 500 = /sorry; wsgi_pass app.py; wsgi_script_name ""; }
        location /broken { error_page 404 502 = /sorry; return 404; }
        location /status { error_page 404 /static/file.txt; wsgi_intercept_errors on; wsgi_pass app.py;
                           wsgi_script_name ""; }
        """)
    answer = server.get("/fails")
    assert (answer.status, answer.body) == (500, b"sorry for /fails")
    assert server.get("/broken").body == b"sorry for /broken"
    answer = server.get("/status?404")
    assert (answer.status, answer.body) == (404, b"static")
    assert server.get("/status?410").body == b"own page"


def test_limit_except_and_if(nginx):
    server = serve(nginx, APP, server="""
        wsgi_threads 2;
        location / { wsgi_pass app.py; }
        location /show { wsgi_script_name ""; wsgi_pass app.py; limit_except POST { wsgi_pass other.py; } }
        location /part { if ($request_method = POST) { return 402; } wsgi_pass app.py; wsgi_script_name ""; }
        """, apps={"other.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"other", str(environ["wsgi.multithread"]).encode()]
"""})
    assert server.get("/show").body == b"otherTrue"
    assert server.post("/show", b"body").json()[0] == "POST"
    assert server.get("/part/a").body == b"a-aaa"
    assert server.post("/part/a").status == 402
    assert server.get("/body").body == BODY


def test_limit_req_and_limit_conn(nginx):
    server = serve(nginx, APP, http="limit_conn_zone $server_name zone=one:1m;",
                   more='location /wait { limit_conn one 1; wsgi_pass app.py; wsgi_script_name ""; }')
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    assert server.get("/wait?go").status == 503
    touch(server, "go")
    assert first.read_response().body == b"go"
    assert server.get("/wait?go").body == b"go"


def test_mirror(nginx):
    server = serve(nginx, """
        def at_copy(environ, start_response):
            note("copy", environ["wsgi.input"].read().decode())
            start_response("200 OK", PLAIN)
            return Body(b"thrown", b"away" * 100_000, name="copy")

        def at_main(environ, start_response):
            return answer(start_response, environ["wsgi.input"].read())
        """, threads=1, more="""
        location /main { wsgi_pass app.py; mirror /copy; wsgi_script_name ""; }
        """)
    client = server.connect()
    for number in range(3):
        assert client.request("POST", "/main", body=b"%d" % number).body == b"%d" % number
    assert wait_notes(server, "copy", 3) == [f"copy {number}" for number in range(3)]
    assert len(wait_notes(server, "close copy", 3)) == 3


def test_variables_of_the_request(nginx):
    """They are read by nginx before the thread has it."""
    server = serve(nginx, """
        def at_vars(environ, start_response):
            return answer(start_response, [environ["ONE"], environ["TWO"], environ["REQUEST_ID"]])
        """, more="""
        wsgi_var ONE $arg_one; wsgi_var TWO "$remote_addr-$request_method"; wsgi_var REQUEST_ID $request_id;
        """, threads=4)
    ids = set()
    for number in range(8):
        one, two, request = server.get(f"/vars?one={number}").json()
        assert (one, two) == (str(number), "127.0.0.1-GET")
        ids.add(request)
    assert len(ids) == 8
