"""Rules 33 to 38: the blocks of the body and its length."""

import time

from conformance.client import Answer, shown
from conformance.probes.rules import probe, section
from conformance.probes.tools import each, expect, first_part, needs_write
from conformance.verdicts import fail
from harness import http

section("The body, its blocks, write() and close()")


@probe("33a", "error", "PEP", "A block of str gives 500, and so does a str for the whole")
def _(server):
    each(server, "/wrong_block", ["list", "str"])


@probe("33b", "error", "PEP", "A block that is a number gives 500")
def _(server):
    each(server, "/wrong_block", ["ints"])


@probe("34a", "must", "PEP", "A block is with the client before the next is there")
def _(server):
    early, answer = first_part(server, "/blocks")
    if b"1" not in early:
        fail("the first block waits for the second")
    expect(answer, 200, b"12")


@probe("34b", "usual", "", "A client that does not read stops the application")
def _(server):
    with server.connect(rcvbuf=4096) as client:
        client.send(http.build("GET", "/big", [("Connection", "close")]))
        if not server.wait_notes("asked"):
            fail("the application is not called")
        before, since = 0, time.monotonic()
        while time.monotonic() - since < 0.6:
            now = len(server.notes("asked"))
            if now != before:
                before, since = now, time.monotonic()
            if now >= 600:
                break
            time.sleep(0.02)
        client.reset()
    if before >= 600:
        fail("60 MB are made at once and kept in memory")


@probe("35a", "must", "PEP", "Empty blocks send nothing and end nothing")
def _(server):
    expect(server.ask("/holes"), 200, b"onetwo")


@probe("35b", "must", "PEP", "Headers are not sent with an empty block")
def _(server):
    answer = server.ask("/hole_and_error")
    if answer.status != 500:
        fail(f"an error after an empty block: {answer}")


@probe("36a", "must", "PEP", "Nothing but iteration, len() and close() is asked of an iterable")
def _(server):
    answer = server.ask("/curious")
    if server.notes("used"):
        fail(", ".join(server.notes("used")))
    expect(answer, 200, b"by iteration")


@probe("36b", "must", "PEP", "Iterables do without len(); a derived Content-Length is right")
def _(server):
    for name in ("one", "tuple", "many", "generator", "sized", "iterator"):
        answer = server.ask(f"/lengths?{name}")
        if answer.body != b"12345" or not answer.complete or answer.header("Content-Length") not in (None, "5"):
            fail(f"{name}: {answer}")


@probe("36c", "usual", "9110 8.6", "HEAD of an application that gives no body gets no length of 0")
def _(server):
    for query in ("", "?blank"):
        answer = expect(server.ask(f"/head_empty{query}", method="HEAD"), 200)
        if answer.header("Content-Length") == "0":
            fail("Content-Length: 0, although GET has 5")


@probe("37a", "should", "PEP", "No more than Content-Length is sent")
def _(server):
    answer = expect(server.ask("/long"), 200)
    if (answer.body, answer.rest) != (b"1234", b""):
        fail(f"{shown(answer.rest)} follows the answer" if answer.rest else str(answer))


@probe("37b", "should", "PEP", "Iteration stops when Content-Length is reached")
def _(server):
    server.ask("/endless")
    time.sleep(0.1)
    asked = len(server.notes("asked"))
    # A server may send one block while it asks for the next.
    if not 2 <= asked <= 10:
        fail(f"{asked} blocks are asked for where 2 are enough")


@probe("37c", "should", "PEP", "write() past Content-Length raises")
def _(server):
    needs_write(server)
    server.ask("/write_long")
    if not server.wait_notes("raised"):
        fail("write() raises nothing")


@probe("37d", "should", "PEP", "Fewer bytes than Content-Length close the connection")
def _(server):
    with server.connect() as client:
        client.send(http.build("GET", "/short"))
        data, end = client.read_all(1.0)
    answer = Answer(data, end=end)
    if end == "open":
        fail("it stays open, the client waits")
    if answer.status in (500, None):
        return
    if answer.complete or answer.header("Content-Length") != "10":
        fail(f"{answer}, Content-Length {answer.header('Content-Length')}")


@probe("38a", "must", "PEP", "Without a length: chunks, or the end of the connection")
def _(server):
    answer = expect(server.ask("/stream"), 200, b"onetwo")
    if answer.header("Content-Length") is None and not answer.chunked and answer.end != "closed":
        fail("nothing tells where the body ends")


@probe("38b", "must", "9112 6.1", "No chunks for a client of HTTP/1.0")
def _(server):
    answer = server.ask("/stream", version="1.0")
    if answer.header("Transfer-Encoding"):
        fail(f"Transfer-Encoding: {answer.header('Transfer-Encoding')}")
    expect(answer, 200, b"onetwo")
