"""What the benchmarks ask for: 13 bytes, and one GiB in blocks of 64 KiB with and without a Content-Length."""

HELLO = b"Hello, World!"
BLOCK = b"0123456789abcdef" * 4096
BLOCKS = 16384


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [HELLO]


def blocks():
    for _ in range(BLOCKS):
        yield BLOCK


def stream(environ, start_response):
    headers = [("Content-Type", "application/octet-stream")]
    if environ["PATH_INFO"] == "/length":
        headers.append(("Content-Length", str(BLOCKS * len(BLOCK))))
    start_response("200 OK", headers)
    return blocks()
