"""Receives a file of any size and answers while it reads: how many bytes so far, at the end their SHA-256.

nginx has the whole body before the application runs: a small one in memory, a larger one in a temporary file.
`wsgi.input` reads from there, a mebibyte at a time, and between two of them the generator gives the event loop back.
"""

import hashlib
import os

BLOCK = 1024 * 1024
FORM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "form.html")


def application(environ, start_response):
    method = environ["REQUEST_METHOD"]
    if method in ("GET", "HEAD"):
        with open(FORM, "rb") as file:
            page = file.read()
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))])
        return [page]
    if method in ("POST", "PUT"):
        start_response("200 OK", [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Cache-Control", "no-store"),
            # Without it a browser waits for the first kilobyte, to guess what the text might be.
            ("X-Content-Type-Options", "nosniff"),
        ])
        return receive(environ["wsgi.input"], int(environ.get("CONTENT_LENGTH") or 0))
    start_response("405 Method Not Allowed", [("Content-Type", "text/plain"), ("Allow", "GET, HEAD, POST, PUT")])
    return [b"Send a file by POST or PUT.\n"]


def receive(stream, length):
    """Reads the body; yields a line for every block, then one with the checksum."""
    digest = hashlib.sha256()
    received = 0
    while received < length:
        block = stream.read(min(BLOCK, length - received))
        if not block:
            break
        digest.update(block)
        received += len(block)
        yield f"received {received} of {length} bytes\n".encode()
    yield f"sha256 {digest.hexdigest()} of {received} bytes\n".encode()
