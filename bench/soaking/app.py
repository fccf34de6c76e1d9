"""The application of the soak test: every body follows from `seed` and `size` in the query, so clients can check it.

It also counts what it has opened and closed: see `counts`.
"""

import itertools
import os
import random
import threading
import time
import zlib

# The same bytes on both sides, longer than a page and of no period that a mistake could hide in.
STOCK = random.Random(4).randbytes(1 << 20)

opened = itertools.count()
closed = itertools.count()


def piece(seed, start, size):
    """Bytes `start` to `start + size` of the body of this seed."""
    at = (seed * 7919 + start) % len(STOCK)
    data = STOCK[at:at + size]
    while len(data) < size:
        data += STOCK[:size - len(data)]
    return data


def blocks(seed, size):
    """The whole body in blocks of many sizes."""
    dice = random.Random(seed)
    done = 0
    while done < size:
        length = min(size - done, dice.choice((1, 13, 500, 4096, 10000, 65536, 200000)))
        yield piece(seed, done, length)
        done += length


class Counted:
    """An iterable that knows whether it was closed, once."""

    def __init__(self, inner):
        next(opened)
        self.inner = iter(inner)
        self.open = True

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.inner)

    def close(self):
        if not self.open:
            print("SOAK: close() called twice")
        self.open = False
        next(closed)
        if hasattr(self.inner, "close"):
            self.inner.close()


def question(environ):
    values = dict(part.split("=") for part in environ["QUERY_STRING"].split("&") if part)
    return int(values.get("seed", 0)), int(values.get("size", 0))


def head(start_response, seed, status="200 OK", size=None):
    headers = [("Content-Type", "application/octet-stream"), ("X-Seed", str(seed))]
    if size is not None:
        headers.append(("Content-Length", str(size)))
    return start_response(status, headers)


def application(environ, start_response):
    """Locations differ in their directives, the last part of the path is what to do."""
    seed, size = question(environ)
    way = environ["PATH_INFO"].rpartition("/")[2]
    body = WAYS[way](environ, start_response, seed, size)
    # A list and a file are treated in a way of their own, which a wrapper would hide. And what is interrupted between
    # making an iterable and returning it has made one that nobody knows of.
    if way == "filed" or way == "whole" and seed % 2 or environ["SCRIPT_NAME"] in ("/cancelled", "/timed"):
        return body
    return Counted(body)


def whole(environ, start_response, seed, size):
    """A list, small or large."""
    head(start_response, seed, size=size)
    return list(blocks(seed, size))


def generated(environ, start_response, seed, size):
    """A generator without a length, which waits now and then."""
    head(start_response, seed)
    for number, block in enumerate(blocks(seed, size)):
        if number % 7 == 6:
            time.sleep(0.002)
        yield block


def written(environ, start_response, seed, size):
    """Half by write(), half by the iterable."""
    write = head(start_response, seed, size=size)
    done = 0
    for block in blocks(seed, size):
        if done + len(block) > size // 2:
            break
        write(block)
        done += len(block)
    return [piece(seed, done, size - done)]


def filed(environ, start_response, seed, size):
    """The end of a file, by wsgi.file_wrapper."""
    file = open(os.environ["SOAK_FILE"], "rb")
    file.seek(max(0, len(STOCK) - size))
    head(start_response, seed, size=min(size, len(STOCK)))
    return environ["wsgi.file_wrapper"](file)


def waiting(environ, start_response, seed, size):
    """`size` milliseconds."""
    time.sleep(size / 1000)
    return whole(environ, start_response, seed, 100)


def received(environ, start_response, seed, size):
    """What has been uploaded: its length and checksum."""
    stream, total, check = environ["wsgi.input"], 0, 0
    while block := stream.read(32768):
        total += len(block)
        check = zlib.crc32(block, check)
    answer = f"{total} {check:08x}".encode()
    head(start_response, seed, size=len(answer))
    return [answer]


def failing(environ, start_response, seed, size):
    """Before the head: 500."""
    raise RuntimeError("asked to fail")


def breaking(environ, start_response, seed, size):
    """After half of the body: cut off."""
    head(start_response, seed, size=size)
    yield piece(seed, 0, size // 2)
    raise RuntimeError("asked to break off")


def looping(environ, start_response, seed, size):
    """Longer than wsgi_timeout, in Python."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.005)
    raise RuntimeError("nobody has ended this")


def stuck(environ, start_response, seed, size):
    """Twice longer than wsgi_timeout, in C."""
    time.sleep(5)
    return whole(environ, start_response, seed, 100)


WAYS = {"whole": whole, "generated": generated, "written": written, "filed": filed, "waiting": waiting,
        "received": received, "failing": failing, "breaking": breaking, "looping": looping, "stuck": stuck}


def counts(environ, start_response):
    """Inline: this worker, how many iterables it has opened and closed, and its threads."""
    # The value of a count without counting.
    have = [int(repr(one).partition("(")[2].rstrip(")")) for one in (opened, closed)]
    text = f"{os.getpid()} {have[0]} {have[1]} {threading.active_count()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]
