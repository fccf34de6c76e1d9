"""Shows when this code was loaded. Change the greeting, save, and load the page again."""

import os
import time

GREETING = "Hello! Edit me."

# The module is run from the top whenever the file has changed.
LOADED = time.time()


def application(environ, start_response):
    age = time.time() - LOADED
    clock = time.strftime("%H:%M:%S", time.localtime(LOADED))
    body = f"{GREETING}\n\nLoaded {age:.3f} s ago, at {clock}, by worker {os.getpid()}.\n".encode()
    start_response("200 OK", [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ])
    return [body]
