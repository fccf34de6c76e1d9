"""PEP 3333, points 22 to 32: start_response."""

import re

import pytest

from harness.apps import notes, serve, touch, wait_notes
from harness.http import Truncated


def test_22_start_response_takes_positional_arguments_and_returns_write(nginx):
    server = serve(nginx, """
        def at_call(environ, start_response):
            if environ["QUERY_STRING"] == "wrong":
                return answer(start_response, [raised(start_response), raised(start_response, "200 OK"),
                                               raised(start_response, "200 OK", [], None, None),
                                               raised(start_response, "200 OK", [], "no exc_info")], again=True)
            write = start_response("200 OK", list(PLAIN), None)
            note(callable(write))
            write(b"written")
            return []

        def at_keywords(environ, start_response):
            # Not promised by the PEP, but frameworks' test clients and some middleware do it.
            start_response("200 OK", PLAIN, exc_info=None)
            return [b"keyword"]
        """)
    assert server.get("/call").body == b"written"
    assert notes(server) == ["True"]
    assert server.get("/call?wrong").json() == ["TypeError"] * 4
    assert server.get("/keywords").body == b"keyword"


def test_23_status_is_three_digits_a_space_and_a_reason(nginx):
    server = serve(nginx, r"""
        def at_good(environ, start_response):
            start_response(environ["QUERY_STRING"].replace("+", " "), PLAIN)
            return [b"body"]

        def at_bad(environ, start_response):
            bad = ["", "2", "20 OK", "2000 OK", "abc OK", "200OK", " 200 OK", "200 OK\r\n", "200 OK\n", "200 O\rK",
                   "200 OK\r\nX-Evil: 1", "200 \0", "200 O\x7fK", "200 \x1f", "099 Low", "\u0662\u0660\u0660 OK",
                   "200 \u20ac", "-20 OK", "+20 OK", "2 0 OK"]
            wrong_type = [None, 200, b"200 OK", ("200 OK",)]
            return answer(start_response, [[refused(start_response, status, PLAIN) for status in bad],
                                           [refused(start_response, status, PLAIN) for status in wrong_type]],
                          again=True)
        """)
    for status in ("200 OK", "299 Own reason (really)", "404 Not Here", "418 I'm a teapot", "599 Last", "500 \xe9"):
        answer = server.get("/good?" + status.replace(" ", "+"))
        assert (answer.status, answer.reason) == (int(status[:3]), status[4:])
        assert answer.body == b"body"
    bad, wrong_type = server.get("/bad").json()
    assert set(bad) == {"ValueError"}, bad
    assert set(wrong_type) == {"TypeError"}, wrong_type


def test_23_a_missing_reason_is_tolerated(nginx):
    server = serve(nginx, """
        def at_short(environ, start_response):
            start_response(environ["QUERY_STRING"].replace("+", " "), PLAIN)
            return [b"body"]
        """)
    for status in ("200", "200+", "404", "299"):
        answer = server.get("/short?" + status)
        assert (answer.status, answer.body) == (int(status[:3]), b"body")


def test_23_an_informational_status_is_no_response(nginx):
    """A client would go on waiting for the real one; over HTTP/2 it is an error of protocol."""
    server = serve(nginx, """
        def at_interim(environ, start_response):
            start_response(environ["QUERY_STRING"] + " Interim", [])
            return [b"body"]
        """)
    for status in (100, 101, 102, 103, 199):
        assert server.get(f"/interim?{status}").status == 500
    assert len(server.wait_for_log("raised ValueError", count=5)) == 5


def test_24_headers_are_a_list_of_pairs_of_str_and_errors_are_raised_in_the_application(nginx):
    server = serve(nginx, r"""
        def at_types(environ, start_response):
            wrong = [None, "X: y", (("X-A", "b"),), {"X-A": "b"}, iter([("X-A", "b")]), [["X-A", "b"]], ["X-A"],
                     [("X-A",)], [("X-A", "b", "c")], [("X-A", None)], [("X-A", 1)], [("X-A", b"b")], [(b"X-A", "b")],
                     [(1, "b")], [None]]
            return answer(start_response, [refused(start_response, "200 OK", headers) for headers in wrong],
                          again=True)

        def at_values(environ, start_response):
            bad = [("", "b"), ("X:A", "b"), ("X A", "b"), (" X", "b"), ("X ", "b"), ("X\r\n", "b"), ("X\0", "b"),
                   ("X\xe9", "b"), ("X\u20ac", "b"), ("X(", "b"), ("X-A", "b\r\nX-Evil: 1"), ("X-A", "b\n"),
                   ("X-A", "\rb"), ("X-A", "b\0c"), ("X-A", "b\x1fc"), ("X-A", "b\x7f"), ("X-A", "b\x08"),
                   ("X-A", "\u20ac"), ("X-A", "\ud800")]
            return answer(start_response, [refused(start_response, "200 OK", [pair]) for pair in bad],
                          again=True)

        def at_good(environ, start_response):
            headers = [("X-Mine", "\xe9\xff"), ("x-lower!#$%&'*+-.^_`|~09", "v"), ("X-Empty", "")]
            start_response("200 OK", headers)
            note(type(headers).__name__)
            return [b"x"]
        """)
    assert set(server.get("/types").json()) == {"TypeError"}
    assert set(server.get("/values").json()) == {"ValueError"}
    answer = server.get("/good")
    assert answer.status == 200
    assert answer.header("X-Mine") == "\xe9\xff"
    assert answer.header("x-lower!#$%&'*+-.^_`|~09") == "v"
    assert answer.header("X-Empty") == ""
    assert not [line for line in answer.head.split(b"\r\n") if line.lower().startswith(b"x-evil")]


def test_25_hop_by_hop_headers_raise(nginx):
    server = serve(nginx, """
        def at_hop(environ, start_response):
            names = ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer",
                     "Trailers", "Transfer-Encoding", "Upgrade", "connection", "TRANSFER-ENCODING"]
            return answer(start_response, [refused(start_response, "200 OK", [(name, "x")]) for name in names],
                          again=True)

        def at_uncaught(environ, start_response):
            start_response("200 OK", [("Transfer-Encoding", "chunked")])
            return [b"never"]
        """)
    assert server.get("/hop").json() == ["ValueError"] * 11
    answer = server.get("/uncaught")
    assert answer.status == 500 and b"never" not in answer.body
    server.wait_for_log("raised ValueError.*[Tt]ransfer-[Ee]ncoding")


def test_26_headers_wait_for_the_first_block_that_is_not_empty(nginx):
    server = serve(nginx, """
        def at_late(environ, start_response):
            start_response("200 OK", [("X-Which", "first")])
            note("started")
            while not there("go"):
                yield b""
            yield b"body"

        def at_replaced(environ, start_response):
            start_response("200 OK", [("X-Which", "first")])
            yield b""
            try:
                raise RuntimeError
            except RuntimeError:
                start_response("503 Busy", [("X-Which", "second")], sys.exc_info())
            yield b"late"
        """)
    client = server.connect()
    client.send_request("GET", "/late")
    wait_notes(server, "started")
    assert not client.closed(0.3) and client.buffer == b""
    touch(server, "go")
    answer = client.read_response()
    assert (answer.header("X-Which"), answer.body) == ("first", b"body")
    answer = server.get("/replaced")
    assert (answer.status, answer.header("X-Which"), answer.body) == (503, "second", b"late")


def test_26_headers_go_out_with_the_first_write(nginx):
    server = serve(nginx, """
        def at_write(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"part")
            block_until_there("go")
            return [b" rest"]

        def at_empty(environ, start_response):
            start_response("202 Taken", [("X-Empty", "1")])
            return []
        """, http="wsgi_block_warning off;")
    client = server.connect()
    client.send_request("GET", "/write")
    head = client.read_head()
    assert head.status == 200 and client.read_until(b"part") is not None
    touch(server, "go")
    client.read_until(b" rest")
    answer = server.get("/empty")
    assert (answer.status, answer.reason, answer.header("X-Empty"), answer.body) == (202, "Taken", "1", b"")


def test_27_second_start_response_without_exc_info_is_fatal(nginx):
    server = serve(nginx, """
        def at_twice(environ, start_response):
            start_response("200 OK", [("X-Which", "first")])
            start_response("201 Created", [("X-Which", "second")])
            return [b"never"]

        def at_caught(environ, start_response):
            start_response("200 OK", [("X-Which", "first")])
            error = raised(start_response, "201 Created", [("X-Which", "second")])
            return [error.encode()]

        def at_none(environ, start_response):
            start_response("200 OK", PLAIN)
            return [raised(start_response, "200 OK", PLAIN, None).encode()]

        def at_after_output(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"x"
            yield raised(start_response, "200 OK", PLAIN).encode()
        """)
    answer = server.get("/twice")
    assert answer.status == 500 and answer.header("X-Which") is None and b"never" not in answer.body
    server.wait_for_log("raised RuntimeError")
    answer = server.get("/caught")
    assert (answer.status, answer.header("X-Which"), answer.body) == (200, "first", b"RuntimeError")
    assert server.get("/none").body == b"RuntimeError"
    assert server.get("/after_output").body == b"xRuntimeError"


def test_27_a_first_call_that_raised_counts_as_the_first(nginx):
    server = serve(nginx, r"""
        def at_again(environ, start_response):
            note(raised(start_response, "200 OK\r\n", PLAIN))
            note(raised(start_response, "200 OK", PLAIN))
            try:
                raise KeyError("x")
            except KeyError:
                start_response("500 Mine", [("X-Which", "repaired")], sys.exc_info())
            return [b"repaired"]
        """)
    answer = server.get("/again")
    assert notes(server) == ["ValueError", "RuntimeError"]
    assert (answer.status, answer.reason, answer.body) == (500, "Mine", b"repaired")


def test_28_exc_info_before_the_headers_replaces_all_of_them(nginx):
    server = serve(nginx, """
        def fail(start_response, *more):
            try:
                raise LookupError("planned")
            except LookupError:
                return start_response("500 Sorry", [("Content-Type", "text/x-error"), *more], sys.exc_info())

        def at_before(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", "3"), ("X-Old", "1"),
                                      ("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT"), ("ETag", '"x"'),
                                      ("Location", "/x"), ("Content-Encoding", "x"), ("Set-Cookie", "a=b")])
            fail(start_response, ("X-New", "2"))
            return [b"a longer text than three"]

        def at_generator(environ, start_response):
            start_response("200 OK", [("Content-Length", "3")])
            yield b""
            fail(start_response)
            yield b"in a generator"

        def at_first(environ, start_response):
            fail(start_response)
            return [b"only call"]

        def at_write(environ, start_response):
            start_response("200 OK", [("Content-Length", "1")])
            fail(start_response)(b"by write")
            return []
        """)
    answer = server.get("/before")
    assert (answer.status, answer.reason, answer.body) == (500, "Sorry", b"a longer text than three")
    assert answer.header("Content-Type") == "text/x-error" and answer.header("X-New") == "2"
    for name in ("X-Old", "Last-Modified", "ETag", "Location", "Content-Encoding", "Set-Cookie"):
        assert answer.header(name) is None, name
    assert answer.header("Content-Length") in (None, str(len(answer.body)))
    for target, body in (("generator", b"in a generator"), ("first", b"only call"), ("write", b"by write")):
        answer = server.get("/" + target)
        assert (answer.status, answer.body) == (500, body)


def test_28_exc_info_after_the_headers_is_raised_again_with_its_traceback(nginx):
    server = serve(nginx, """
        def the_place_that_failed():
            raise LookupError("planned")

        def at_after(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"sent"
            try:
                the_place_that_failed()
            except LookupError:
                start_response("500 Sorry", [("X-New", "2")], sys.exc_info())
            yield b"never"

        def at_identity(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"sent"
            try:
                the_place_that_failed()
            except LookupError as error:
                try:
                    start_response("500 Sorry", [], sys.exc_info())
                except LookupError as again:
                    frames, place = [], again.__traceback__
                    while place:
                        frames.append(place.tb_frame.f_code.co_name)
                        place = place.tb_next
                    note(again is error, "the_place_that_failed" in frames)
        """)
    with pytest.raises(Truncated) as caught:
        server.get("/after")
    assert caught.value.response.status == 200 and caught.value.response.body == b"sent"
    server.wait_for_log("raised LookupError: planned")
    server.wait_for_log("in the_place_that_failed")
    assert server.get("/identity").body == b"sent"
    assert notes(server) == ["True True"]


def test_29_references_to_exc_info_are_dropped(nginx):
    server = serve(nginx, """
        import gc
        import weakref

        class Mark:
            pass

        marks = []

        def fail(start_response):
            local = Mark()
            marks.append(weakref.ref(local))
            try:
                raise ValueError("x")
            except ValueError:
                start_response("500 Sorry", PLAIN, sys.exc_info())

        def at_fail(environ, start_response):
            gc.disable()
            fail(start_response)
            return [str(marks[-1]() is None).encode()]

        def late(start_response):
            local = Mark()
            marks.append(weakref.ref(local))
            try:
                raise ValueError("x")
            except ValueError:
                try:
                    start_response("500 Sorry", PLAIN, sys.exc_info())
                except ValueError:
                    pass

        def at_late(environ, start_response):
            gc.disable()
            start_response("200 OK", PLAIN)
            yield b"x"
            late(start_response)
            yield str(marks[-1]() is None).encode()
        """)
    assert server.get("/fail").body == b"True"
    assert server.get("/late").body == b"xTrue"


def test_30_start_response_may_come_in_any_iteration(nginx):
    server = serve(nginx, """
        def at_first(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"in the first"

        def at_later(environ, start_response):
            yield b""
            yield b""
            start_response("201 Created", [("X-Late", "1")])
            yield b""
            yield b"after two"

        def at_end(environ, start_response):
            yield b""
            start_response("202 At end", [("X-Late", "2")])

        def at_too_late(environ, start_response):
            yield b"data before"
            start_response("200 OK", PLAIN)
            yield b"more"
        """)
    assert server.get("/first").body == b"in the first"
    answer = server.get("/later")
    assert (answer.status, answer.header("X-Late"), answer.body) == (201, "1", b"after two")
    answer = server.get("/end")
    assert (answer.status, answer.header("X-Late"), answer.body) == (202, "2", b"")
    answer = server.get("/too_late")
    assert answer.status == 500 and b"data before" not in answer.body
    server.wait_for_log(r"\[error\].*start_response")


def test_31_date_and_server_are_added_and_never_doubled(nginx):
    server = serve(nginx, """
        def at_without(environ, start_response):
            start_response("200 OK", PLAIN)
            return [b"x"]

        def at_with(environ, start_response):
            start_response("200 OK", [("date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("SERVER", "mine/1")])
            return [b"x"]
        """, tls=True, h2c=True)
    with_http2 = server.h2()
    for ask in (server.get, lambda target: with_http2.request("GET", target)):
        answer = ask("/without")
        assert re.fullmatch(r"\w{3}, \d\d \w{3} 20\d\d \d\d:\d\d:\d\d GMT", answer.header("Date"))
        assert answer.all("Server")[0].startswith("nginx") and len(answer.all("Server")) == 1
        answer = ask("/with")
        assert answer.all("Date") == ["Mon, 01 Jan 2001 00:00:00 GMT"]
        assert answer.all("Server") == ["mine/1"]


def test_32_no_start_response_is_a_logged_500(nginx):
    server = serve(nginx, """
        def at_list(environ, start_response):
            return [b"never"]

        def at_empty(environ, start_response):
            return []

        def at_generator(environ, start_response):
            yield b""
            yield b""

        def at_body(environ, start_response):
            return Body(b"", name="unstarted")
        """)
    for target in ("list", "empty", "generator", "body"):
        since = server.log_size()
        answer = server.get("/" + target)
        assert answer.status == 500 and b"never" not in answer.body, target
        server.wait_for_log("start_response", since=since)
    server.wait_for_log("returned without calling start_response")
    wait_notes(server, "close unstarted")
    assert notes(server, "close") == ["close unstarted"]
