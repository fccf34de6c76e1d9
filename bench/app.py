"""What the benchmarks ask for: 13 bytes, at once or after 10 ms, and one GiB in blocks of 64 KiB with and without a
Content-Length."""

import time

HELLO = b"Hello, World!"
BLOCK = b"0123456789abcdef" * 4096
BLOCKS = 16384


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [HELLO]


def sleep(environ, start_response):
    time.sleep(0.01)
    return hello(environ, start_response)


def blocks():
    for _ in range(BLOCKS):
        yield BLOCK


def stream(environ, start_response):
    headers = [("Content-Type", "application/octet-stream")]
    if environ["PATH_INFO"] == "/length":
        headers.append(("Content-Length", str(BLOCKS * len(BLOCK))))
    start_response("200 OK", headers)
    return blocks()
