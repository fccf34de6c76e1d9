"""PEP 3333, points 16 to 21: wsgi.input and wsgi.errors."""

import re

import pytest

from harness.apps import notes, serve, wait_notes
from harness.nginx import wait_for

INPUT = """
    def at_methods(environ, start_response):
        stream = environ["wsgi.input"]
        got = [stream.read(2), stream.readline(), stream.readline(3), stream.readlines(1), next(iter(stream)),
               list(stream), stream.read(), stream.read(5), stream.readline(), stream.readlines()]
        same = all(type(item) is bytes for item in got[:3] + got[3] + got[5] + got[6:9])
        return answer(start_response, [repr(got), same, iter(stream) is stream])

    def at_echo(environ, start_response):
        note("called", environ["PATH_INFO"])
        return answer(start_response, environ["wsgi.input"].read())

    def at_twice(environ, start_response):
        stream = environ["wsgi.input"]
        parts = [stream.read(4), stream.read(10 ** 9)] + [stream.read(), stream.read(1), stream.readline()] * 3
        return answer(start_response, [part.decode() for part in parts])

    def at_unread(environ, start_response):
        return answer(start_response, b"unread")

    def at_chunked(environ, start_response):
        keys = {key: environ.get(key) for key in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING",
                                                  "wsgi.input_terminated")}
        return answer(start_response, [environ["wsgi.input"].read().decode(), keys])
    """


@pytest.mark.parametrize("storage", ["memory", "file"])
def test_16_input_has_read_readline_readlines_and_iteration_and_gives_bytes(nginx, storage):
    server = serve(nginx, INPUT, f"""
        location / {{ wsgi_pass app.py; client_body_in_file_only {'clean' if storage == 'file' else 'off'}; }}""")
    shown, all_bytes, own_iterator = server.post("/methods", b"xyline1\nlong line\nthird\nfourth\nfifth\nsixth").json()
    assert shown == repr([b"xy", b"line1\n", b"lon", [b"g line\n"], b"third\n", [b"fourth\n", b"fifth\n", b"sixth"],
                          b"", b"", b"", []])
    assert all_bytes and own_iterator


def test_17_end_of_input_is_simulated_and_pipelined_bytes_are_never_seen(nginx):
    server = serve(nginx, INPUT)
    client = server.connect()
    client.send(b"POST /twice HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdefGET /twice HTTP/1.1\r\nHost: a\r\n"
                b"\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz")
    assert client.read_response().json() == ["abcd", "ef"] + [""] * 9
    assert client.read_response().json() == [""] * 11
    assert client.read_response().body == b"xyz"


def test_17_reading_past_the_end_does_not_wait_for_the_client(nginx):
    client = serve(nginx, INPUT).connect()
    # The connection stays open and silent: a server that reads from the socket would hang here.
    client.send(b"POST /twice HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345")
    assert client.read_response().json() == ["1234", "5"] + [""] * 9


def test_18_chunked_input_is_decoded_and_terminated(nginx):
    server = serve(nginx, INPUT)
    client = server.connect()
    for pieces in ([b"hello ", b"chunked ", b"world"], [b"x"] * 50, []):
        text, keys = client.request("POST", "/chunked", body=pieces, chunked=True).json()
        body = b"".join(pieces).decode()
        assert text == body
        assert keys == {"CONTENT_LENGTH": str(len(body)), "HTTP_TRANSFER_ENCODING": None,
                        "wsgi.input_terminated": True}
    # Extensions of chunks and trailers are no part of the body.
    client.send(b"POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3;ext=1\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n")
    assert client.read_response().json()[0] == "abc"
    assert client.request("POST", "/chunked", body=b"12").json()[1]["wsgi.input_terminated"] is True


def test_19_errors_takes_text_of_every_kind_and_reaches_the_log(nginx):
    server = serve(nginx, r"""
        def at_log(environ, start_response):
            errors = environ["wsgi.errors"]
            errors.write("first %s %n %d 100%\n")
            errors.writelines(["second ", "is whole\n", "third\n"])
            errors.write("unicode \u20ac \U0001f600 \ud800 end\n")
            errors.write("a partial line")
            errors.flush()
            print("by print", file=errors)
            errors.write("two\nlines\n")
            errors.write("x" * 10000 + "tail\n")
            refused = [raised(errors.write, b"bytes"), raised(errors.write, 1)]
            return answer(start_response, refused)
        """)
    assert server.get("/log").json() == ["TypeError", "TypeError"]
    for text in ("first %s %n %d 100%", "second is whole", "third", "a partial line", "by print", "two", "lines"):
        server.wait_for_log(re.escape(text) + r"(,|$)")
    (line,) = server.wait_for_log("unicode ")
    assert "end" in line
    server.wait_for_log("xtail")
    assert server.log().count("x") >= 10000


def test_19_a_partial_line_is_not_lost_when_the_request_ends_without_flush(nginx):
    server = serve(nginx, """
        def at_log(environ, start_response):
            environ["wsgi.errors"].write("never flushed by the application")
            return answer(start_response, 1)
        """)
    server.get("/log")
    server.wait_for_log("never flushed by the application")


@pytest.mark.parametrize("reset", [False, True])
def test_20_a_client_that_leaves_amid_its_body_never_looks_like_the_end_of_input(nginx, reset):
    server = serve(nginx, INPUT)
    client = server.connect()
    client.send(b"POST /echo/broken HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly a part")
    # nginx has read the part as soon as a second request, sent later, is answered.
    assert server.post("/echo/whole", b"12").body == b"12"
    client.reset() if reset else client.close()
    wait_for(lambda: [line for line in server.access_lines() if "broken" in line], "line in the access log")
    (line,) = [line for line in server.access_lines() if "broken" in line]
    assert re.search(r'" (400|499) ', line), line
    wait_notes(server, "called")
    assert notes(server) == ["called /echo/whole"]


def test_21_expect_100_continue_is_answered_before_the_body_is_sent(nginx):
    server = serve(nginx, INPUT)
    client = server.connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_head(interim=True).status == 100
    client.send(b"body")
    answer = client.read_response()
    assert (answer.status, answer.body, answer.interim) == (200, b"body", [])
    # Nobody reads that body, and yet the connection goes on.
    client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_head(interim=True).status == 100
    client.send(b"body")
    assert client.read_response().body == b"unread"
    assert client.request("POST", "/echo", body=b"next").body == b"next"
