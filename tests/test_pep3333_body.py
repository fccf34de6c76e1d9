"""PEP 3333, points 33 to 45: the iterable, its blocks, its length and its end."""

import re

import pytest

from harness.apps import forget, in_kernel, notes, serve, settled, touch, wait_notes
from harness.http import Truncated


@pytest.mark.parametrize("what, text", [
    ("str", "returned a str"), ("bytes", "returned bytes"), ("none", "returned None"),
    ("list_of_str", "yielded a str"), ("ints", "yielded an int"), ("bytearray", "yielded a bytearray"),
    ("none_item", "yielded None"), ("number", "returned an int"), ("subclass", "")])
def test_33_blocks_are_exactly_bytes(nginx, what, text):
    server = serve(nginx, """
        class Sub(bytes):
            pass

        RESULTS = {"str": "text", "bytes": b"text", "none": None, "list_of_str": ["text"], "ints": [1, 2],
                   "bytearray": iter([bytearray(b"text")]), "none_item": iter([None]), "number": 7,
                   "subclass": [Sub(b"sub")]}

        def at_result(environ, start_response):
            start_response("200 OK", PLAIN)
            return RESULTS[environ["QUERY_STRING"]]

        def at_next(environ, start_response):
            return answer(start_response, b"next")
        """)
    client = server.connect()
    answer = client.request("GET", "/result?" + what)
    if what == "subclass":
        # bytes or an error, but never anything else.
        assert (answer.status, answer.body) == (200, b"sub") or answer.status == 500
    else:
        assert answer.status == 500 and b"text" not in answer.body
        server.wait_for_log(r'\[error\].*wsgi: application "[^"]*app.py" ' + text)
    assert server.get("/next").body == b"next"


def test_33_a_wrong_block_in_the_middle_cuts_the_answer(nginx):
    server = serve(nginx, """
        def at_mixed(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(b"good", "bad", b"never")
        """)
    with pytest.raises(Truncated) as caught:
        server.get("/mixed")
    assert caught.value.response.body == b"good"
    wait_notes(server, "close")
    assert notes(server) == ["close body"]


def test_34_the_next_block_is_asked_for_when_the_last_is_with_the_kernel(nginx):
    size = 100_000
    server = serve(nginx, f"""
        def at_big(environ, start_response):
            start_response("200 OK", PLAIN)
            for number in range(300):
                note("asked", number)
                yield b"%06d" % number + b"x" * ({size} - 6)
        """)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    wait_notes(server, "asked", 2)
    asked = settled(lambda: len(notes(server)))
    assert asked < 300
    held = in_kernel(client)
    assert (asked - 1) * size <= held <= asked * size + 4096
    head = client.read_head()
    client.read_body(head)
    assert head.complete and len(head.body) == 300 * size
    assert [head.body[at:at + 6] for at in range(0, len(head.body), size)] == [b"%06d" % n for n in range(300)]


def test_34_a_block_never_waits_for_the_next(nginx):
    server = serve(nginx, """
        def at_two(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"1"
            while not there("go"):
                yield b""
            yield b"2"
        """)
    client = server.connect()
    client.send_request("GET", "/two")
    head = client.read_head()
    assert client.read_chunk(head) == b"1"
    touch(server, "go")
    assert client.read_chunk(head) == b"2"
    assert client.read_chunk(head) == b""


def test_35_empty_blocks_send_nothing(nginx):
    server = serve(nginx, """
        def at_holes(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(b"", b"one", b"", b"", b"two", b"")

        def at_list(environ, start_response):
            start_response("200 OK", PLAIN)
            return [b"", b"one", b"", b"two", b""]

        def at_nothing(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(b"", b"")
        """)
    client = server.connect()
    answer = client.request("GET", "/holes")
    assert (answer.chunks, answer.body, answer.complete) == ([3, 3], b"onetwo", True)
    assert client.request("GET", "/list").body == b"onetwo"
    answer = client.request("GET", "/nothing")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


def test_36_content_length_is_derived_only_where_the_length_is_known(nginx):
    server = serve(nginx, """
        class Sized:
            def __init__(self, *items):
                self.items = items

            def __len__(self):
                note("len")
                return len(self.items)

            def __iter__(self):
                return iter(self.items)

            def __getattr__(self, name):
                note("getattr", name)
                raise AttributeError(name)

        RESULTS = {
            "one": lambda: [b"12345"], "tuple": lambda: (b"12345",), "many": lambda: [b"12", b"", b"345"],
            "empty": lambda: [], "sized": lambda: Sized(b"12345"), "sized_two": lambda: Sized(b"12", b"345"),
            "generator": lambda: (item for item in [b"12345"])}

        def at_result(environ, start_response):
            start_response("200 OK", PLAIN)
            return RESULTS[environ["QUERY_STRING"]]()
        """)
    client = server.connect()
    for name in ("one", "tuple", "many"):
        answer = client.request("GET", "/result?" + name)
        assert (answer.all("Content-Length"), answer.chunked, answer.body) == (["5"], False, b"12345"), name
    assert client.request("GET", "/result?empty").header("Content-Length") == "0"
    answer = client.request("GET", "/result?generator")
    assert (answer.header("Content-Length"), answer.chunked, answer.body) == (None, True, b"12345")
    for name in ("sized", "sized_two"):
        answer = client.request("GET", "/result?" + name)
        assert answer.body == b"12345"
        assert answer.header("Content-Length") in (None, "5")
    # Nothing but the documented protocol is asked of an iterable.
    assert set(notes(server, "getattr")) <= {"getattr close"}


def test_36_head_does_not_turn_an_empty_list_into_length_zero(nginx):
    server = serve(nginx, """
        def at_result(environ, start_response):
            start_response("200 OK", PLAIN)
            return {"none": [], "blank": [b""], "body": [b"123", b"45"]}[environ["QUERY_STRING"]]

        def at_given(environ, start_response):
            start_response("200 OK", [("Content-Length", "77")])
            return []
        """)
    client = server.connect()
    for name, length in (("none", None), ("blank", None), ("body", "5")):
        assert client.request("HEAD", "/result?" + name).header("Content-Length") == length, name
    answer = client.request("HEAD", "/given")
    assert (answer.status, answer.header("Content-Length")) == (200, "77")
    assert client.request("GET", "/result?body").body == b"12345"


def test_37_no_more_than_content_length_is_sent(nginx):
    server = serve(nginx, """
        def at_list(environ, start_response):
            start_response("200 OK", [("Content-Length", "10")])
            return [b"0123456789and more"]

        def at_blocks(environ, start_response):
            start_response("200 OK", [("Content-Length", "10")])
            return Body(b"01234", b"56789and", b" more", b" and more")

        def at_exact(environ, start_response):
            start_response("200 OK", [("Content-Length", "10")])
            return Body(b"01234", b"56789", name="exact")

        def at_endless(environ, start_response):
            start_response("200 OK", [("Content-Length", "10")])
            def forever():
                while True:
                    yield b"0123456789"
            return forever()

        def at_zero(environ, start_response):
            start_response("200 OK", [("Content-Length", "0")])
            return [b"no"]
        """)
    client = server.connect()
    for name in ("list", "blocks", "exact", "endless"):
        since = server.log_size()
        answer = client.request("GET", "/" + name)
        assert (answer.status, answer.header("Content-Length"), answer.body) == (200, "10", b"0123456789"), name
        if name != "exact":
            server.wait_for_log("yielded more than its Content-Length of 10 bytes, the rest is dropped", since=since)
        else:
            wait_notes(server, "close exact")
            assert not server.log_lines("Content-Length", since)
    assert client.request("GET", "/zero").body == b""
    assert client.request("GET", "/exact").body == b"0123456789"


def test_37_too_few_bytes_close_the_connection_and_are_logged(nginx):
    server = serve(nginx, """
        def at_list(environ, start_response):
            start_response("200 OK", [("Content-Length", "10")])
            return [b"012"]

        def at_blocks(environ, start_response):
            start_response("200 OK", [("Content-Length", "10")])
            return Body(b"0", b"12")

        def at_none(environ, start_response):
            start_response("200 OK", [("Content-Length", "10")])
            return Body(name="none")
        """)
    for name, body in (("list", b"012"), ("blocks", b"012")):
        since = server.log_size()
        client = server.connect()
        client.send_request("GET", "/" + name)
        head = client.read_head()
        assert head.header("Content-Length") == "10"
        assert client.read_rest() == body
        server.wait_for_log("sent 3 of the 10 bytes of its Content-Length, the connection is closed", since=since)
    client = server.connect()
    client.send_request("GET", "/none")
    rest = client.read_rest()
    assert rest == b"" or b" 500 " in rest.split(b"\r\n")[0] or rest.endswith(b"\r\n\r\n")
    server.wait_for_log("sent 0 of the 10 bytes")
    assert notes(server, "close") == ["close body", "close none"]


def test_38_without_a_length_chunked_for_1_1_and_closed_for_1_0(nginx):
    server = serve(nginx, """
        def at_stream(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(b"one", b"two")
        """)
    answer = server.connect().request("GET", "/stream")
    assert answer.chunked and answer.header("Content-Length") is None and answer.body == b"onetwo"
    client = server.connect()
    answer = client.request("GET", "/stream", [("Connection", "keep-alive")], version="1.0")
    assert not answer.chunked and answer.header("Content-Length") is None
    assert answer.body == b"onetwo" and client.closed()
    assert answer.header("Connection") == "close"


def test_39_close_is_called_once_on_the_returned_object(nginx):
    server = serve(nginx, """
        class Outer:
            def __iter__(self):
                return Body(b"x", name="inner")

            def close(self):
                note("close outer")

        def at_outer(environ, start_response):
            start_response("200 OK", PLAIN)
            return Outer()

        class Listed(list):
            def close(self):
                note("close list")

        def at_list(environ, start_response):
            start_response("200 OK", PLAIN)
            return Listed([b"x"])

        def at_none(environ, start_response):
            start_response("200 OK", PLAIN)
            body = Body(b"x")
            body.close = None
            return body
        """)
    assert server.get("/outer").body == b"x"
    assert server.get("/list").body == b"x"
    wait_notes(server, "close list")
    assert notes(server, "close") == ["close outer", "close list"]
    assert server.get("/none").body == b"x"


def test_39_an_exception_in_close_is_logged_and_harms_nobody(nginx):
    server = serve(nginx, """
        class Bad(Body):
            def close(self):
                note("closing")
                raise ValueError("in close")

        def at_bad(environ, start_response):
            start_response("200 OK", PLAIN)
            return Bad(b"x")
        """)
    client = server.connect()
    assert client.request("GET", "/bad").body == b"x"
    assert client.request("GET", "/bad").body == b"x"
    lines = server.wait_for_log(r"wsgi: close\(\) of application \"[^\"]*app.py\" raised ValueError: in close", count=2)
    assert "GET /bad" in lines[0]
    assert notes(server, "closing") == ["closing"] * 2


def test_40_a_body_that_nobody_gets_is_abandoned_and_closed(nginx):
    server = serve(nginx, """
        def at_endless(environ, start_response):
            start_response(environ["QUERY_STRING"].replace("+", " "), [])
            def forever():
                while True:
                    note("asked")
                    yield b"x" * 1000
            return Closing(forever())

        class Closing:
            def __init__(self, inner):
                self.inner = inner

            def __iter__(self):
                return self.inner

            def close(self):
                note("close")
        """)
    client = server.connect()
    for method, status in (("HEAD", "200+OK"), ("GET", "204+None"), ("GET", "304+Same")):
        forget(server)
        answer = client.request(method, "/endless?" + status)
        assert answer.status == int(status[:3]) and answer.header("Transfer-Encoding") in (None, "chunked")
        wait_notes(server, "close")
        assert notes(server, "close") == ["close"] and len(notes(server, "asked")) <= 1


def test_41_write_comes_before_the_iterable_and_fails_after_the_end(nginx):
    server = serve(nginx, """
        kept = []

        def at_mixed(environ, start_response):
            write = start_response("200 OK", PLAIN)
            kept[:] = [write]
            write(b"one ")
            write(b"")
            write(b"two ")
            return Body(b"three ", b"four")

        def at_only(environ, start_response):
            write = start_response("200 OK", [("Content-Length", "6")])
            write(b"abc")
            write(b"def")
            return []

        def at_late(environ, start_response):
            return answer(start_response, raised(kept[0], b"late"))

        def at_wrong(environ, start_response):
            write = start_response("200 OK", PLAIN)
            return [repr([raised(write, item) for item in ("str", None, 1, bytearray(b"x"))] +
                         [raised(write), raised(write, b"a", b"b")]).encode()]
        """)
    client = server.connect()
    assert client.request("GET", "/mixed").body == b"one two three four"
    answer = client.request("GET", "/only")
    assert (answer.header("Content-Length"), answer.body) == ("6", b"abcdef")
    assert client.request("GET", "/late").json() == "RuntimeError"
    assert client.request("GET", "/wrong").body == repr(["TypeError"] * 6).encode()


def test_42_an_exception_before_the_headers_discards_what_was_prepared(nginx):
    server = serve(nginx, """
        HEADERS = [("X-Old", "1"), ("Content-Length", "3"), ("Set-Cookie", "a=b"), ("Content-Encoding", "gzip"),
                   ("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT"), ("ETag", '"x"'), ("Location", "/elsewhere"),
                   ("Content-Type", "image/png"), ("Server", "mine"), ("Date", "Mon, 01 Jan 2001 00:00:00 GMT"),
                   ("Cache-Control", "max-age=1"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Link", "<x>"),
                   ("Accept-Ranges", "bytes"), ("Content-Range", "bytes 0-2/3"), ("WWW-Authenticate", "Basic")]

        def at_call(environ, start_response):
            start_response("203 Old", HEADERS)
            raise ValueError("boom")

        def at_next(environ, start_response):
            start_response("203 Old", HEADERS)
            return Body(ValueError("boom"))

        def at_second(environ, start_response):
            start_response("203 Old", HEADERS)
            return Body(b"", ValueError("boom"))
        """)
    for name in ("call", "next", "second"):
        answer = server.get("/" + name)
        assert (answer.status, answer.reason) == (500, "Internal Server Error")
        kept = {key.lower() for key, _ in answer.headers}
        assert kept <= {"server", "date", "content-type", "content-length", "connection"}, kept
        assert answer.header("Content-Type") == "text/html" and answer.header("Server").startswith("nginx")
        assert int(answer.header("Content-Length")) == len(answer.body) and b"500" in answer.body
    assert len(server.wait_for_log('raised ValueError: boom.*request: "GET /', count=3)) == 3
    wait_notes(server, "close", 2)
    assert notes(server) == ["close body"] * 2


def test_42_an_exception_after_the_headers_truncates_visibly(nginx):
    server = serve(nginx, """
        def at_chunked(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(b"part", ValueError("boom"))

        def at_length(environ, start_response):
            start_response("200 OK", [("Content-Length", "100")])
            return Body(b"part", ValueError("boom"))

        def at_write(environ, start_response):
            start_response("200 OK", PLAIN)(b"part")
            raise ValueError("boom")
        """, h2c=True)
    for name in ("chunked", "length", "write"):
        since = server.log_size()
        client = server.connect()
        client.send_request("GET", "/" + name)
        with pytest.raises(Truncated) as caught:
            client.read_response()
        response = caught.value.response
        assert response.status == 200 and response.body == b"part" and not response.complete
        assert client.eof
        server.wait_for_log("raised ValueError: boom after the headers were sent, the response is cut short",
                            since=since)
    for name in ("chunked", "length"):
        with_http2 = server.h2()
        stream = with_http2.request("GET", "/" + name)
        assert (stream.status, stream.body) == (200, b"part")
        assert not stream.complete and stream.reset is not None
        # The connection and its other streams go on.
        assert with_http2.request("GET", "/" + name).status == 200


@pytest.mark.parametrize("kind", ["list", "blocks", "write"])
def test_43_no_body_for_head_204_and_304(nginx, kind):
    server = serve(nginx, """
        def at_any(environ, start_response):
            _, _, kind, status = environ["PATH_INFO"].split("/")
            headers = [("X-Kind", kind)]
            if "length" in environ["QUERY_STRING"]:
                headers.append(("Content-Length", "8"))
            write = start_response(status + " Whatever", headers)
            if kind == "write":
                write(b"forb")
                write(b"idden")
                return []
            return [b"forb", b"idden"] if kind == "list" else Body(b"forb", b"idden")

        def at_next(environ, start_response):
            return answer(start_response, b"next")
        """)
    client = server.connect()
    for method, status in (("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 204), ("HEAD", 404), ("POST", 204)):
        for query in ("", "?length"):
            answer = client.request(method, f"/any/{kind}/{status}{query}")
            assert (answer.status, answer.header("X-Kind")) == (status, kind), (method, status)
            if status == 204:
                assert answer.header("Content-Length") is None and answer.header("Transfer-Encoding") is None
            if method == "HEAD" and status != 204 and query:
                assert answer.header("Content-Length") == "8"
            # A stray byte of a body would be read as the next answer.
            assert client.request("GET", "/next").body == b"next"


def test_44_status_206_304_and_content_range_of_the_application_are_left_alone(nginx):
    server = serve(nginx, """
        def at_partial(environ, start_response):
            start_response("206 Partial Content", [("Content-Range", "bytes 2-5/10"), ("Content-Length", "4"),
                                                   ("Accept-Ranges", "bytes")])
            return [b"2345"]

        def at_full(environ, start_response):
            start_response("200 OK", PLAIN)
            return [b"0123456789"]

        def at_same(environ, start_response):
            start_response("304 Not Modified", [("ETag", '"v1"'), ("X-Mine", "1")])
            return []

        def at_refused(environ, start_response):
            start_response("416 Range Not Satisfiable", [("Content-Range", "bytes */10")])
            return [b"own text"]
        """)
    client = server.connect()
    answer = client.request("GET", "/partial", [("Range", "bytes=2-5")])
    assert (answer.status, answer.all("Content-Range"), answer.body) == (206, ["bytes 2-5/10"], b"2345")
    # Ranges of a response that the application sent whole are not nginx's to cut unless it was told so.
    answer = client.request("GET", "/full", [("Range", "bytes=2-5")])
    assert (answer.status, answer.header("Content-Range"), answer.body) == (200, None, b"0123456789")
    answer = client.request("GET", "/same", [("If-None-Match", '"v1"')])
    assert (answer.status, answer.header("ETag"), answer.header("X-Mine")) == (304, '"v1"', "1")
    answer = client.request("GET", "/refused", [("Range", "bytes=20-")])
    assert (answer.status, answer.all("Content-Range"), answer.body) == (416, ["bytes */10"], b"own text")


def test_45_bytes_arrive_as_they_are(nginx):
    server = serve(nginx, r"""
        ALL = bytes(range(256))

        def at_all(environ, start_response):
            body = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Type", "text/html; charset=utf-16")])
            return [ALL, b"\r\n\n\r", body] if environ["QUERY_STRING"] else Body(ALL, b"\r\n\n\r", body)
        """)
    sent = b"\r\n\n\r\0\xff\xfe" * 3 + bytes(reversed(range(256)))
    for query in ("", "?list"):
        answer = server.post("/all" + query, sent)
        assert answer.body == bytes(range(256)) + b"\r\n\n\r" + sent
        assert answer.header("Content-Type") == "text/html; charset=utf-16"


def test_42_nothing_of_the_error_reaches_the_client(nginx):
    server = serve(nginx, """
        def at_secret(environ, start_response):
            raise ValueError("the secret")
        """)
    answer = server.get("/secret")
    assert answer.status == 500 and not re.search(b"secret|Traceback|app.py", answer.head + answer.body)
