"""What all servers are asked for in the benchmarks without a framework: one callable for each."""

import json
import os
import time
import zlib

HELLO = b"Hello, World!"
BODY64K = b"0123456789abcdef" * (1 << 12)
BODY1M = b"0123456789abcdef" * (1 << 16)
BLOCK = b"0123456789abcdef" * (1 << 9)
BLOCKS = 100
TEXT = "text/plain"
BINARY = "application/octet-stream"


def headers(type_, length):
    return [("Content-Type", type_), ("Content-Length", str(length))]


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [HELLO]


def json_(environ, start_response):
    body = json.dumps({"message": "Hello, World!"}).encode()
    start_response("200 OK", headers("application/json", len(body)))
    return [body]


def body64k(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "65536")])
    return [BODY64K]


def body1m(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "1048576")])
    return [BODY1M]


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", BINARY)])
    return (BLOCK for _ in range(BLOCKS))


def post(environ, start_response):
    """How many bytes it got; with ?crc what they were, too."""
    source, length, check = environ["wsgi.input"], 0, 0
    left = int(environ.get("CONTENT_LENGTH") or 0)
    while left and (block := source.read(min(left, 1 << 20))):
        length, left = length + len(block), left - len(block)
        if environ.get("QUERY_STRING") == "crc":
            check = zlib.crc32(block, check)
    body = f"{length} {check}".encode()
    start_response("200 OK", headers(TEXT, len(body)))
    return [body]


def file10m(environ, start_response):
    file = open(os.environ["BENCH_FILE"], "rb")
    start_response("200 OK", headers(BINARY, os.fstat(file.fileno()).st_size))
    if "wsgi.file_wrapper" in environ:
        return environ["wsgi.file_wrapper"](file, 1 << 16)
    return blocks(file)


def blocks(file):
    """Where there is no wrapper."""
    with file:
        while block := file.read(1 << 16):
            yield block


def sleep(environ, start_response):
    time.sleep(0.01)
    return hello(environ, start_response)


def cpu():
    """About a millisecond of plain bytecode."""
    total = 0
    for number in range(24000):
        total = (total * 31 + number) & 0xffff
    return str(total).encode()


def cpu1ms(environ, start_response):
    body = cpu()
    start_response("200 OK", headers(TEXT, len(body)))
    return [body]
