"""Rules 46 to 50: wsgi.file_wrapper."""

import time

from conformance.asked import DATA
from conformance.client import shown
from conformance.probes.rules import probe, section
from conformance.probes.tools import expect, needs_write
from conformance.verdicts import fail, skip
from harness import http

section("wsgi.file_wrapper, which servers may do without")


def has_wrapper(server):
    if not server.ask("/file_wrapper").json():
        skip("no wsgi.file_wrapper")


@probe("46a", "must", "PEP", "It is called with a file and a size, and sends the file")
def _(server):
    has_wrapper(server)
    answer = expect(server.ask("/file?"), 200)
    if answer.body != DATA:
        fail(f"{len(answer.body)} of {len(DATA)} bytes, or others")


@probe("46b", "must", "PEP", "Nothing is sent unless its result is returned")
def _(server):
    has_wrapper(server)
    expect(server.ask("/file?not_returned"), 200, b"something else")


@probe("46c", "must", "PEP", "Its result can be iterated over by a middleware")
def _(server):
    has_wrapper(server)
    expect(server.ask("/file?middleware"), 200, b"BY HAND")


@probe("47a", "must", "PEP", "close() of the file is called, once")
def _(server):
    has_wrapper(server)
    for kind in ("closed", "noted"):
        server.forget()
        expect(server.ask(f"/file?{kind}"), 200)
        server.wait_notes("close", 1)
        if len(server.notes("close")) != 1:
            fail(f"{'a file' if kind == 'closed' else 'what only looks like one'}: "
                 f"{len(server.notes('close'))} times")


@probe("47b", "must", "PEP", "What is no file, but has read(), is read")
def _(server):
    has_wrapper(server)
    wrong = []
    for kind in ("bytesio", "reader", "noted"):
        answer = server.ask(f"/file?{kind}")
        if (answer.status, answer.body, answer.complete) != (200, b"0123456789", True):
            wrong.append(f"{kind}: {answer}")
    if wrong:
        fail("; ".join(wrong))


@probe("48a", "should", "PEP", "Sending begins at the file's position, as Python sees it")
def _(server):
    has_wrapper(server)
    body = expect(server.ask("/file?position"), 200).body
    if body != DATA[8:]:
        at = DATA.find(body[:64])
        fail("nothing is sent" if not body else f"it begins at byte {at} instead of 8" if at != 8 else
             f"{len(body)} bytes instead of {len(DATA) - 8}")


@probe("48b", "should", "PEP", "No more of the file than Content-Length is sent")
def _(server):
    has_wrapper(server)
    answer = expect(server.ask("/file?length"), 200)
    if (answer.body, answer.rest) != (DATA[:12], b""):
        fail(f"{len(answer.rest)} bytes follow the answer")


@probe("48c", "must", "PEP", "A file that is not a regular one, such as a pipe, is read")
def _(server):
    has_wrapper(server)
    expect(server.ask("/file?pipe"), 200, b"0123456789")


@probe("49", "must", "PEP", "It may follow write()")
def _(server):
    has_wrapper(server)
    needs_write(server)
    expect(server.ask("/file?write"), 200, b"written wrapped")
    answer = expect(server.ask("/file?write_file"), 200)
    if answer.body != b"written " + DATA:
        fail(f"{len(answer.body)} bytes instead of {len(DATA) + 8}, beginning with {shown(answer.body)}")


@probe("50", "must", "PEP", "The file stays open until a slow client has all of it")
def _(server):
    has_wrapper(server)
    with server.connect(rcvbuf=4096) as client:
        client.send(http.build("GET", "/file?closed", [("Connection", "close")]))
        time.sleep(0.3)
        answer = client.answer()
    if answer.body != DATA or not answer.complete:
        fail(f"{len(answer.body)} of {len(DATA)} bytes")
    server.wait_notes("close", 1)
    if len(server.notes("close")) != 1:
        fail(f"close() is called {len(server.notes('close'))} times")
