"""environ['ngx.variable']: nginx's variables, read and set by an application."""

import pytest

from harness.apps import serve, wait_notes

pytestmark = pytest.mark.inline_only

READS = """
    def at_reads(environ, start_response):
        read = environ["ngx.variable"]
        return answer(start_response, {name: read(name) for name in environ["HTTP_X_NAMES"].split(",")})
    """


def read(server, target, *names, headers=()):
    return server.get(target, [("X-Names", ",".join(names)), *headers]).json()


def test_reading(nginx):
    server = serve(nginx, READS, """
        set $own "own $uri";
        location / { wsgi_pass app.py; set $empty ""; }
        """, http="map $arg_a $mapped { default other; 1 one; } map $uri $unused { default x; }")
    found = read(server, "/reads?a=1&b=%20", "uri", "args", "arg_a", "arg_b", "arg_c", "own", "empty", "mapped", "unused",
                 "http_x_one", "http_none", "cookie_c", "request_method", "server_port", "no_such_variable",
                 "request_id", "host", "is_args", headers=[("X-One", "1"), ("Cookie", "c=cake")])
    assert len(found.pop("request_id")) == 32
    assert found == {
        "uri": "/reads", "args": "a=1&b=%20", "arg_a": "1", "arg_b": "%20", "arg_c": None, "own": "own /reads", "empty": "",
        "mapped": "one", "unused": "x", "http_x_one": "1", "http_none": None, "cookie_c": "cake", "request_method": "GET",
        "server_port": str(server.port), "no_such_variable": None, "host": "localhost", "is_args": "?"}


def test_names_and_values_are_bytes(nginx):
    server = serve(nginx, READS, 'location / { set $word "w\u00f6rd"; wsgi_pass app.py; }')
    found = read(server, "/reads", "HTTP_X_LATIN", "Uri", "word", headers=[("X-Latin", "\xe4")])
    # The configuration is UTF-8.
    assert found == {"HTTP_X_LATIN": "\xe4", "Uri": "/reads", "word": "w\xc3\xb6rd"}


def test_setting(nginx):
    server = serve(nginx, """
        def at_sets(environ, start_response):
            variable = environ["ngx.variable"]
            before = variable("own")
            variable("own", "set \\xe4")
            variable("OWN2", "")
            variable("args", "x=y")
            return answer(start_response, [before, variable("own"), variable("own2"), variable("args"), variable("arg_x"),
                                           variable("query_string"), environ["QUERY_STRING"]])
        """, """
        location / { set $own before; set $own2 before2; wsgi_pass app.py; add_header X-Own $own; }
        """, http="log_format own '$uri|$own|$own2|$args'; access_log %%FOLDER%%/own.log own;")
    answer = server.get("/sets?a=b")
    assert answer.json() == ["before", "set \xe4", "", "x=y", "y", "x=y", "a=b"]
    assert answer.header("X-Own") == "set \xe4"
    server.stop()
    assert (server.folder / "own.log").read_text().splitlines() == ["/sets|set \\xE4||x=y"]


def test_what_cannot_be_set(nginx):
    server = serve(nginx, """
        def at_sets(environ, start_response):
            def error(*args):
                try:
                    environ["ngx.variable"](*args)
                except Exception as error:
                    return f"{type(error).__name__}: {error.args[0]}"
            return answer(start_response, [
                error("no_such_variable", "x"), error("uri", "x"), error("http_x", "x"), error("mapped", "x"),
                error("", "x"), error("own", None), error("own", 1), error("own", b"x"), error(b"own"), error("own", "\\u20ac"),
                error(), error("a", "b", "c"), error("own", "a\\r\\nSet-Cookie: b"), error("own", "a\\0")])
        """, "location / { set $own before; wsgi_pass app.py; }", http="map $uri $mapped { default x; }")
    found = server.get("/sets").json()
    assert found[:5] == [
        "KeyError: no_such_variable: there is no such variable of nginx", "ValueError: uri: this variable of nginx cannot be set",
        "ValueError: http_x: this variable of nginx cannot be set", "ValueError: mapped: this variable of nginx cannot be set",
        "KeyError: : there is no such variable of nginx"]
    assert found[5:9] == [
        "TypeError: the value of a variable must be str, not NoneType", "TypeError: the value of a variable must be str, not int",
        "TypeError: the value of a variable must be str, not bytes", "TypeError: the name of a variable must be str, not bytes"]
    assert found[9].startswith("ValueError: ") and "U+00FF" in found[9]
    assert found[10].startswith("TypeError: ") and found[11].startswith("TypeError: ")
    # Those that add_header would make another line of.
    assert found[12:] == ["ValueError: own: the value holds CR, LF or NUL"] * 2


def test_only_before_the_head_is_sent(nginx):
    server = serve(nginx, """
        def at_late(environ, start_response):
            variable = environ["ngx.variable"]
            start_response("200 OK", PLAIN)
            variable("own", "in time")
            yield b"sent "
            environ["x-wsgiorg.flush"]()
            try:
                variable("own", "late")
            except RuntimeError as error:
                yield f"{error}: {variable('own')}".encode()
        """, "location / { set $own before; wsgi_pass app.py; }")
    assert server.get("/late").body == (
        b"sent the head of the response has been sent: too late to set a variable: in time")


def test_the_rate_of_a_response(nginx):
    """$limit_rate has a function of its own to be set."""
    server = serve(nginx, """
        def at_rate(environ, start_response):
            variable = environ["ngx.variable"]
            before = variable("limit_rate")
            variable("limit_rate", "50k")
            return answer(start_response, [before, variable("limit_rate")])
        """)
    assert server.get("/rate").json() == ["0", "51200"]


def test_subrequests_share_them(nginx):
    server = serve(nginx, """
        def at_page(environ, start_response):
            variable = environ["ngx.variable"]
            variable("own", "page")
            sub = environ["ngx.subrequest"]("/part?x=1")
            yield b""
            yield from answer(start_response, json.loads(sub().body) + [variable("own"), variable("uri"), variable("arg_x")])

        def at_part(environ, start_response):
            variable = environ["ngx.variable"]
            found = [variable("own"), variable("uri"), variable("arg_x")]
            variable("own", "part")
            return answer(start_response, found)
        """, "set $own before; location / { wsgi_pass app.py; }")
    # The rewrite module runs for the subrequest as well.
    assert server.get("/page").json() == ["before", "/part", "1", "part", "/page", None]


def test_outside_of_the_application(nginx):
    server = serve(nginx, """
        import threading

        def at_thread(environ, start_response):
            thread = threading.Thread(target=lambda: note("thread", raised(environ["ngx.variable"], "uri")))
            thread.start()
            thread.join()
            kept.append(environ["ngx.variable"])
            return answer(start_response, b"x")

        kept = []

        def at_other(environ, start_response):
            return answer(start_response, kept[0]("uri").encode())
        """)
    assert server.get("/thread").body == b"x"
    wait_notes(server, "thread RuntimeError")
    # It is that of the request which runs.
    assert server.get("/other").body == b"/other"
