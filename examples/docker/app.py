"""What the container answers: where it runs, and that it runs in a thread."""

import os
import platform
import sys
import threading


def application(environ, start_response):
    body = (f"Hello from {environ['SERVER_SOFTWARE']} and Python {platform.python_version()} in {sys.prefix}\n"
            f"worker {os.getpid()}, user {os.getuid()}, {threading.current_thread().name}\n").encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


def health(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
