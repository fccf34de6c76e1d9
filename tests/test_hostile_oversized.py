"""Request lines and headers that are too long or too many: nginx answers for itself, and Python is not called."""

import pytest

from harness.hostile import Pair, check

BUFFERS = "client_header_buffer_size 1k; large_client_header_buffers 4 8k;"
ERRORS = "error_page 414 /414.html; error_page 494 =400 /494.html; location ~ html$ { return 200 \"page $status\"; }"


def get(line, *headers):
    return b"\r\n".join((line, *headers)) + b"\r\n\r\n"


def line(size):
    return get(b"GET /" + b"a" * size + b" HTTP/1.1", b"Host: a", b"Connection: close")


def header(size, count=1, host=b"Host: a"):
    return get(b"GET /x HTTP/1.1", host, b"Connection: close", *[b"X-%d: " % n + b"b" * size for n in range(count)])


TOO_LARGE = {
    "line": line(8192), "long line": line(100_000), "line of a MiB": line(1 << 20),
    "line that never ends": b"GET /" + b"a" * 200_000,
    "query": get(b"GET /?" + b"a" * 9000 + b" HTTP/1.1", b"Host: a"),
    "absolute": get(b"GET http://" + b"a" * 9000 + b"/ HTTP/1.1", b"Host: a"),
    "method": get(b"A" * 9000 + b" / HTTP/1.1", b"Host: a"),
    "value": header(8192), "long value": header(100_000), "value of a MiB": header(1 << 20),
    "value that never ends": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 200_000,
    "name": get(b"GET /x HTTP/1.1", b"Host: a", b"X" * 9000 + b": a"),
    "many values": header(1000, 40), "many small ones": header(1, 9000),
    "cookie": get(b"GET /x HTTP/1.1", b"Host: a", b"Cookie: " + b"a=b; " * 3000),
    "host": header(1, host=b"Host: " + b"a" * 9000),
    "the second request": header(1).replace(b"close", b"x") + line(9000),
    "folded for ever": get(b"GET /x HTTP/1.1", b"Host: a", *[b" folded"] * 5000),
    "with a body": get(b"POST /x HTTP/1.1", b"Host: a", b"Content-Length: 4", b"X-A: " + b"a" * 9000) + b"abcd",
}
LARGE = {"line": line(8000), "value": header(8000), "many values": header(1000, 20), "many small ones": header(1, 700)}


@pytest.mark.parametrize("pages", ["", ERRORS], ids=["plain", "error_page"])
def test_too_large(nginx, pages):
    found = check(Pair(nginx, "location / { pair_pass; }" + pages, http=BUFFERS), TOO_LARGE)
    for case, (ours, _) in found.items():
        uris = [seen["REQUEST_URI"] for seen in ours.calls]
        assert uris == (["/x"] if case == "the second request" else []), f"{case}: {uris}"
        assert ours.answers[-1][0] in (400, 414), f"{case}: {ours}"


def test_an_application_as_the_error_page(nginx):
    """nginx lets it answer without headers that were never read: it is told no more than nginx knows."""
    config = """location / { pair_pass; } error_page 400 414 494 /error; location = /error { internal; pair_pass; }"""
    pair = Pair(nginx, config, http=BUFFERS)
    for case, (ours, plain) in pair.ask(TOO_LARGE).items():
        assert ours.answers == plain.answers, f"{case}: {ours.answers}, nginx alone {plain.answers}"
        assert [entry["length"] for entry in ours.log] == [entry["length"] for entry in plain.log], case
        seen = ours.calls[-1]
        assert seen["PATH_INFO"] == "/error" and seen["body"] == "", f"{case}: {seen}"
        assert all(len(value) <= 8192 for value in seen.values()), case


def test_just_not_too_large(nginx):
    found = check(Pair(nginx, http=BUFFERS), LARGE)
    for case, (ours, _) in found.items():
        assert len(ours.calls) == 1, f"{case}: {ours}"
        seen = ours.calls[0]
        assert len(seen["REQUEST_URI"]) == (8001 if case == "line" else 2)
        sizes = [len(value) for key, value in seen.items() if key.startswith("HTTP_X_")]
        assert sizes == {"value": [8000], "many values": [1000] * 20, "many small ones": [1] * 700}.get(case, [])
