"""Rules 42 to 45: what goes out after an exception, to HEAD, with 204, 206 and 304; wsgiref.validate."""

import time

from conformance.client import shown
from conformance.probes.rules import probe
from conformance.probes.tools import expect
from conformance.verdicts import fail
from harness import http


@probe("42a", "should", "PEP", "An exception before output gives 500, without the old headers")
def _(server):
    answer = server.ask("/raises")
    old = " and the old headers" if answer.header("X-First") or answer.header("Set-Cookie") else ""
    if answer.status != 500 or old:
        fail(f"{answer}{old}")


@probe("42b", "usual", "9112 8", "An exception after output is visible: the answer is cut short")
def _(server):
    with server.connect() as client:
        # A connection that could go on: where it is to end anyway, its end tells nothing.
        client.send(http.build("GET", "/raises_in_the_middle"))
        answer = client.answer(seconds=1.0)
    if answer.status != 200 or not answer.complete:
        return
    framed = answer.chunked or answer.header("Content-Length")
    fail("the answer ends as if it were complete" if framed else
         "the connection ends as after a complete answer, which has neither chunks nor a length")


@probe("42c", "should", "PEP", "Exceptions are logged")
def _(server):
    server.ask("/raises")
    deadline = time.monotonic() + 2
    while "conformance planned failure" not in server.log():
        if time.monotonic() > deadline:
            fail("nothing is logged")
        time.sleep(0.02)


@probe("43a", "must", "9110 9.3.2", "No body in an answer to HEAD")
def _(server):
    for path in ("/method", "/stream"):
        answer = expect(server.ask(path, method="HEAD"), 200)
        if answer.rest:
            fail(f"{shown(answer.rest)} follows the headers")


@probe("43b", "must", "9110 6.4.1", "No body with 204 and 304")
def _(server):
    wrong = []
    for status in (204, 304):
        answer = expect(server.ask(f"/no_body?{status}"), status)
        if answer.rest:
            wrong.append(f"{status}: {shown(answer.rest)} follows the headers")
    if wrong:
        fail("; ".join(wrong))


@probe("43c", "must", "9110 8.6", "204 has no Content-Length and no Transfer-Encoding")
def _(server):
    answer = expect(server.ask("/no_length"), 204)
    for name in ("Content-Length", "Transfer-Encoding"):
        if answer.header(name) is not None:
            fail(f"{name}: {answer.header(name)}")


@probe("43d", "must", "PEP", "The application sees HEAD as HEAD")
def _(server):
    got = expect(server.ask("/method", method="HEAD"), 200).header("X-Method")
    if got != "HEAD":
        fail(f"REQUEST_METHOD is {got!r}")


@probe("44", "must", "9110 14", "206 and 304 of the application are not worked on again")
def _(server):
    answer = expect(server.ask("/partial", [("Range", "bytes=2-3")]), 206, b"23")
    if answer.all("Content-Range") != ["bytes 2-3/10"]:
        fail(f"Content-Range: {answer.all('Content-Range')}")
    expect(server.ask("/not_modified", [("If-None-Match", '"a"')]), 304)


@probe("45", "should", "PEP", "Bytes of the body are not changed")
def _(server):
    body = bytes(range(256)) + b"\r\n\n\r<p>\n"
    if expect(server.ask("/bytes"), 200).body != body:
        fail("they are")


@probe("1-45", "must", "PEP", "wsgiref.validate has nothing to complain about")
def _(server):
    for method, body, chunked in (("GET", None, False), ("POST", b"0123456789", False), ("HEAD", None, False)):
        answer = server.ask("/validate", method=method, body=body, chunked=chunked)
        if server.notes("refused"):
            fail(server.notes("refused")[0].removeprefix("refused "))
        expect(answer, 200, b"" if method == "HEAD" else b"valid " + (body or b""))
