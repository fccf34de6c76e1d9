"""Rules 39 to 41: close() of the iterable, and write()."""

from conformance.client import shown
from conformance.probes.rules import probe
from conformance.probes.tools import expect, first_part, needs_write
from conformance.verdicts import fail
from harness import http


@probe("39a", "must", "PEP", "close() is called once: success, errors, a body too short")
def _(server):
    wrong = []
    for how in ("success", "error", "error_first", "short"):
        server.forget()
        server.ask(f"/close?{how}")
        server.wait_notes("close", 1)
        if len(server.notes("close")) != 1:
            wrong.append(f"{how}: {len(server.notes('close'))} times")
    if wrong:
        fail("; ".join(wrong))


@probe("39b", "must", "PEP", "close() is called once: HEAD, 204, 304")
def _(server):
    wrong = []
    for method, how in (("HEAD", "head"), ("GET", "204"), ("GET", "304")):
        server.forget()
        server.ask(f"/close?{how}", method=method)
        server.wait_notes("close", 1)
        if len(server.notes("close")) != 1:
            wrong.append(f"{how}: {len(server.notes('close'))} times")
    if wrong:
        fail("; ".join(wrong))


@probe("39c", "must", "PEP", "close() is called once: the client has gone")
def _(server):
    with server.connect() as client:
        client.send(http.build("GET", "/close_gone", [("Connection", "close")]))
        server.wait_notes("called")
        client.waits(1)
        client.reset()
    server.wait_notes("close", 5)
    if len(server.notes("close")) != 1:
        fail(f"{len(server.notes('close'))} times")


@probe("39d", "must", "PEP", "close() is that of the object returned, not of its iterator")
def _(server):
    expect(server.ask("/close_outer"), 200, b"outer")
    if server.wait_notes("close", 1) != ["close outer"]:
        fail("it is not called")


@probe("39e", "usual", "", "An exception in close() harms nobody")
def _(server):
    expect(server.ask("/close_raises"), 200, b"body")
    server.wait_notes("close", 1)
    if len(server.notes("close")) != 1:
        fail(f"close() is called {len(server.notes('close'))} times")
    expect(server.ask("/ok"), 200, b"ok")


@probe("41a", "must", "PEP", "What write() was given comes first, then the iterable")
def _(server):
    for path, body in (("/write", b"written twice returned"), ("/write_only", b"written")):
        answer = server.ask(path)
        if answer.body != body:
            fail(f"{shown(answer.body)} instead of {shown(body)}" if answer.status == 200 else str(answer))
        expect(answer, 200)


@probe("41b", "must", "PEP", "What write() was given is sent before the application goes on")
def _(server):
    needs_write(server)
    early, answer = first_part(server, "/write_waits")
    if b"1" not in early:
        fail("it is not there while the application waits" if answer.body == b"12" else str(answer))
    expect(answer, 200, b"12")


@probe("41c", "usual", "", "write() raises when its request is over")
def _(server):
    needs_write(server)
    expect(server.ask("/write_kept"), 200, b"kept")
    answer = server.ask("/write_late")
    if b"much too late" in answer.raw:
        fail("it writes into the next answer")
    got = answer.json()
    if not got.startswith("raised"):
        fail("write() raises nothing")
