"""What probes of several sections ask for."""

import json
import time

from conformance.verdicts import fail, skip
from harness import http


def expect(answer, status, body=None):
    if answer.status != status or not answer.complete or body is not None and answer.body != body:
        fail(str(answer))
    return answer


def expect_json(answer, wanted):
    got = answer.json()
    if got != wanted:
        fail(f"`{json.dumps(got)}` instead of `{json.dumps(wanted)}`" if len(json.dumps(got)) < 90 else
             f"`{json.dumps(got)[:90]}...`")


def needs_write(server):
    if server.ask("/positional").body != b"callable":
        skip("start_response() returns no write()")


def each(server, path, names, wanted=500):
    """Asks for each name; the remark lists the answers that were others than `wanted`."""
    wrong = []
    for name in names:
        answer = server.ask(f"{path}?{name}")
        if answer.status != wanted:
            wrong.append(f"{name}: {answer}")
    if wrong:
        fail("; ".join(wrong))


def first_part(server, path):
    """(what comes of the body while the application waits, the whole answer)"""
    with server.connect() as client:
        client.send(http.build("GET", path, [("Connection", "close")]))
        deadline = time.monotonic() + 1
        while b"1" not in client.buffer.partition(b"\r\n\r\n")[2] and time.monotonic() < deadline:
            client.waits(0.1)
        early = client.buffer.partition(b"\r\n\r\n")[2]
        server.go()
        return early, client.answer()
