"""What a subrequest may not be, and how large its response may get."""

import pytest

from harness.apps import wait_notes
from harness.subrequests import ask, behind, serve

pytestmark = pytest.mark.inline_only


def test_keys_in_threads(nginx):
    server = serve(nginx, """
        def at_keys(environ, start_response):
            return answer(start_response, [key for key in environ if key in ("ngx.subrequest", "ngx.variable")])
        """, server="location = /keys { wsgi_threads 1; wsgi_pass app.py; }")
    assert server.get("/keys").status == 200
    assert server.get("/keys").json() == []


def test_the_size_of_the_body(nginx):
    with behind(lambda handler, path, headers: handler.wfile.write(
            b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * int(path.split("/")[2]))) as other:
        server = serve(nginx, """
            def at_sized(environ, start_response):
                start_response("200 OK", PLAIN)
                return iter([b"x" * 100] * (int(environ["PATH_INFO"].split("/")[2]) // 100))
            """, server=f"""
            subrequest_output_buffer_size 10000;
            location /far/ {{ proxy_pass http://127.0.0.1:{other.port}; }}
            location = /file {{ root %%FOLDER%%; subrequest_output_buffer_size 5; }}
            location = /moved {{ root %%FOLDER%%; try_files /none /file; }}
            """)
        (server.folder / "file").write_bytes(b"123456")
        found = ask(server, "/sized/10000", "/sized/10100", "/far/10000", "/far/10001", "/file", "/far/9000000",
                    "/moved", "/part/x")
    assert [part.status for part in found] == [200, None, 200, None, None, None, None, 200]
    assert len(found[0].body) == len(found[2].body) == 10000 and found[7].body == b"x"
    for part in found[1], found[3], found[5]:
        assert part.error.endswith(
            ": the response is larger than 10000 bytes, the subrequest_output_buffer_size of its location")
    # That of the location which answers.
    assert "larger than 5 bytes" in found[4].error and "larger than 5 bytes" in found[6].error


def test_the_default_is_a_page(nginx):
    server = serve(nginx, """
        def at_sized(environ, start_response):
            return answer(start_response, b"x" * int(environ["PATH_INFO"].split("/")[2]))
        """)
    exact, larger = ask(server, "/sized/4096", "/sized/4097")
    assert len(exact.body) == 4096 and "larger than 4096 bytes" in larger.error


REFUSED = """
    def at_refused(environ, start_response):
        def error(*args, **kwargs):
            try:
                environ["ngx.subrequest"](*args, **kwargs)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        return answer(start_response, [
            error("part"), error(""), error("@named"), error("/a/../../b"), error("/%00"), error("/x", "a=b c"),
            error("/x?a\\nb"), error("/x", "\\x7f"), error("/x", method="get"), error("/x", method="FETCH"),
            error(b"/x"), error("/x", None), error("/x", method=1), error("/\\u20ac"), error("/x", "\\u20ac"),
            error(), error("/x", "", "GET", 1)])
    """


def test_what_cannot_be_asked_for(nginx):
    found = serve(nginx, REFUSED).get("/refused").json()
    slash = 'ValueError: the URI of a subrequest must begin with "/"'
    unsafe = "ValueError: nginx takes the URI of this subrequest for unsafe"
    assert found[:5] == [slash, slash, slash, unsafe, unsafe]
    for text in found[5:8]:
        assert text.startswith("ValueError: the arguments of a subrequest must be quoted")
    assert found[8] == found[9] == "ValueError: nginx does not know the method of this subrequest"
    assert found[10:13] == ["TypeError: the URI must be str, not bytes",
                            "TypeError: the arguments must be str, not NoneType",
                            "TypeError: the method must be str, not int"]
    for text in found[13:15]:
        assert text.startswith("ValueError: ") and "U+00FF" in text
    assert found[15].startswith("TypeError: subrequest() missing") and found[16].startswith("TypeError: subrequest() takes")


def test_quoting(nginx):
    server = serve(nginx, """
        def at_target(environ, start_response):
            return answer(start_response, [environ["PATH_INFO"], environ["QUERY_STRING"]])

        def at_asks(environ, start_response):
            subs = [environ["ngx.subrequest"](*args) for args in [
                ("/target/a%20b%3f",), ("/target/\\xc3\\xa4", "\\xc3\\xa4"), ("/target?a=1", "b=2"), ("/target?", "b=2"),
                ("/target?a=1",), ("/target/%C3%A4?%C3%A4",), ("/target//x/./y",)]]
            yield b""
            yield from answer(start_response, [json.loads(sub().body) for sub in subs])
        """)
    assert server.get("/asks").json() == [
        ["/target/a b?", ""], ["/target/\xc3\xa4", "\xc3\xa4"], ["/target", "a=1&b=2"], ["/target", "b=2"],
        ["/target", "a=1"], ["/target/\xc3\xa4", "%C3%A4"], ["/target//x/./y", ""]]


def test_cycles(nginx):
    server = serve(nginx, """
        def at_cycle(environ, start_response):
            try:
                [[status, headers, body]] = yield from ask(environ, "/cycle")
            except RuntimeError as error:
                body = "x" + str(error)
            yield from answer(start_response, ("x" + body).encode())
        """)
    body = server.get("/cycle").body.decode()
    assert body.strip("x") == "subrequests are nested too deep, is there a cycle?" and body.count("x") > 40


def test_when_it_is_not_done(nginx):
    server = serve(nginx, """
        def at_early(environ, start_response):
            sub = environ["ngx.subrequest"]("/part/x")
            try:
                sub()
            except RuntimeError as error:
                early = str(error)
            yield b""
            yield from answer(start_response, [early, sub().status])
        """)
    assert server.get("/early").json() == [
        'the subrequest "GET /part/x" is not done: yield b\'\' before it is called', 200]


def test_outside_of_the_application(nginx):
    server = serve(nginx, """
        import threading

        class Last:
            def __init__(self, environ):
                self.environ = environ
            def __iter__(self):
                return iter([b"x"])
            def close(self):
                note("close", raised(self.environ["ngx.subrequest"], "/part/x"))

        def at_thread(environ, start_response):
            thread = threading.Thread(target=lambda: note("thread", raised(environ["ngx.subrequest"], "/part/x")))
            thread.start()
            thread.join()
            start_response("200 OK", PLAIN)
            return Last(environ)
        """)
    assert server.get("/thread").body == b"x"
    wait_notes(server, "thread RuntimeError")
    wait_notes(server, "close RuntimeError")


def test_a_result_outlives_its_request(nginx):
    server = serve(nginx, """
        import threading
        kept = []

        def at_keeps(environ, start_response):
            kept.append(environ["ngx.subrequest"]("/part/kept"))
            yield b""
            yield from answer(start_response, b"")

        def at_shows(environ, start_response):
            found = []
            thread = threading.Thread(target=lambda: found.append(kept.pop()().body.decode()))
            thread.start()
            thread.join()
            return answer(start_response, found)
        """)
    server.get("/keeps")
    assert server.get("/shows").json() == ["kept"]
