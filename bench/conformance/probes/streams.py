"""Rules 16 to 21: wsgi.input and wsgi.errors."""

import socket
import time

from conformance.probes.rules import probe, section
from conformance.probes.tools import expect_json
from conformance.verdicts import fail

section("wsgi.input and wsgi.errors")


@probe("16a", "must", "PEP", "wsgi.input has read(size), readline(), readlines() of bytes")
def _(server):
    expect_json(server.post("/input", b"ab\nline one\nline two\nthree"), ["ab\n", "line one\n", "line ",
                                                                         ["two\n", "three"]])
    got = server.post("/hint", b"one\ntwo\n").json()
    if not (isinstance(got, list) and got[:1] == ["one\n"]):
        fail(f"readlines(1): {got}")


@probe("16b", "must", "PEP", "Iteration over wsgi.input gives its lines")
def _(server):
    expect_json(server.post("/iterated", b"one\ntwo\nthree"), ["one\n", "two\n", "three"])


@probe("16c", "should", "PEP", "readline(size) gives no more than size bytes")
def _(server):
    expect_json(server.post("/line_size", b"first\nsecond"), ["fir", "st\n", "second"])


@probe("16d", "should", "PEP", "read() and read(-1) give everything that is left")
def _(server):
    expect_json(server.post("/read_all", b"one\ntwo"), "one\ntwo")
    answer = server.post("/read_all?minus", b"one\ntwo")
    if answer.json() != "one\ntwo":
        fail(f"read(-1): {answer.json()}")


@probe("17a", "should", "PEP", "Reading past the end gives b'' and does not wait for the client")
def _(server):
    with server.connect() as client:
        client.send(b"POST /past_end HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef")
        try:
            answer = client.read_response(strict=False)
        except (TimeoutError, socket.timeout):
            fail("waits for more")
        if answer.status != 200 or answer.json() != ["abcd", "ef", "", "", ""]:
            fail(f"{answer.json()}" if answer.status == 200 else f"{answer.status}")


@probe("17b", "should", "PEP", "Bytes of the next request on the connection are never read")
def _(server):
    with server.connect() as client:
        client.send(b"POST /past_end HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef"
                    b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = client.read_response(strict=False)
        if answer.body == b"ok":
            fail("only the next request is answered")
        if answer.status != 200 or answer.json() != ["abcd", "ef", "", "", ""]:
            fail(f"{answer.json()}" if answer.status == 200 else f"{answer.status}")


@probe("18a", "must", "9112 7.1", "A chunked body of the request is decoded")
def _(server):
    answer = server.post("/echo", [b"one ", b"two"], chunked=True)
    if (answer.status, answer.body) != (200, b"one two"):
        fail(f"{answer}" if answer.body or answer.status != 200 else "the application reads nothing")


@probe("18b", "usual", "", "wsgi.input_terminated says that reading to the end is safe")
def _(server):
    if server.environ(method="POST", body=b"1234").get("wsgi.input_terminated") is not True:
        fail("wsgi.input_terminated is not there")


@probe("19a", "must", "PEP", "wsgi.errors has write(), writelines() and flush() for text")
def _(server):
    got = server.ask("/errors").json()
    if any(isinstance(one, str) and one.startswith("raised") for one in got):
        fail(f"{got}")


@probe("19b", "should", "PEP", "wsgi.errors takes all of Unicode")
def _(server):
    got = server.ask("/errors_unicode").json()
    if got != "NoneType None":
        fail(got)


@probe("19c", "must", "PEP", "After flush() the text is in the log, its last line too")
def _(server):
    server.ask("/errors_flushed")
    deadline = time.monotonic() + 2
    while "conformance without a line end" not in server.log():
        if time.monotonic() > deadline:
            fail("it is not there after two seconds")
        time.sleep(0.02)


@probe("20", "should", "9112 8", "A body that the client breaks off does not look complete")
def _(server):
    with server.connect() as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly a part ")
        time.sleep(0.2)
    if server.wait_notes("ended", 1.5):
        fail("read() gives what came, and then b''")


@probe("21", "must", "9110 10.1.1", "Expect: 100-continue is answered before the body is sent")
def _(server):
    with server.connect(timeout=2) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        try:
            head = client.read_head(interim=True)
        except (TimeoutError, socket.timeout):
            fail("the server waits for the body")
        if head.status != 100:
            fail(f"{head.status} {head.reason}")
        client.send(b"body")
        answer = client.read_response(strict=False)
        if (answer.status, answer.body) != (200, b"body"):
            fail(f"{answer}")
