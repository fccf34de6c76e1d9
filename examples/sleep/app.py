"""Waits without blocking anybody: the smallest application that is suspended.

Asking for a suspension does nothing yet. It begins with the next empty block that the application yields: nginx takes
its worker back, serves whoever else is there, and asks for the next block when the time is over. Compare
examples/threads, where each request that waits takes a thread.
"""

import os
import time

# Requests that wait in this worker. All of them run in one thread, so this needs no lock.
waiting = 0


def application(environ, start_response):
    global waiting
    seconds = wanted(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    started = time.monotonic()
    waiting += 1
    most = waiting
    try:
        environ["x-wsgiorg.suspend"](round(seconds * 1000))
        yield b""
        most = max(most, waiting)
    finally:
        # Also when the client leaves before: then the generator is closed where it stands.
        waiting -= 1
    slept = time.monotonic() - started
    yield f"Slept for {slept:.3f} s in worker {os.getpid()}, beside {most - 1} others.\n".encode()


def wanted(query):
    """The number in seconds=..., between 0 and 60."""
    try:
        return min(max(float(query.partition("seconds=")[2].partition("&")[0]), 0), 60)
    except ValueError:
        return 1
