"""Answers for rules 33 to 38: the blocks of the body and its length."""

from conformance.apps.tools import Body, note, plain, query, wait


def at_wrong_block(environ, start_response):
    start_response("200 OK", plain())
    return {"list": ["text"], "str": "text", "ints": [116, 101]}[query(environ)]


def at_blocks(environ, start_response):
    start_response("200 OK", plain())
    yield b"1"
    wait("go")
    yield b"2"


def at_big(environ, start_response):
    start_response("200 OK", plain())

    def blocks():
        for number in range(600):
            note("asked", number)
            yield b"x" * 100_000
    return blocks()


def at_holes(environ, start_response):
    start_response("200 OK", plain())
    return Body(b"", b"one", b"", b"", b"two", b"")


def at_hole_and_error(environ, start_response):
    start_response("200 OK", plain())
    yield b""
    raise RuntimeError("planned")


class Curious:
    """An iterable that looks a little like a file, and notes what is asked of it."""

    def __init__(self, *blocks):
        self.blocks = iter(blocks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.blocks)

    def read(self, *size):
        note("used read")
        return b"by read"

    def fileno(self):
        note("used fileno")
        raise OSError("planned")


def at_curious(environ, start_response):
    start_response("200 OK", plain())
    return Curious(b"by ", b"iteration")


class Sized:
    """An iterable, no iterator, of two blocks that knows its length and nothing else."""

    def __len__(self):
        return 2

    def __iter__(self):
        return iter([b"12", b"345"])


def at_lengths(environ, start_response):
    start_response("200 OK", plain())
    return {"one": lambda: [b"12345"], "tuple": lambda: (b"12345",), "many": lambda: [b"12", b"", b"345"],
            "generator": lambda: (block for block in [b"12345"]), "sized": Sized,
            "iterator": lambda: Body(b"12345")}[query(environ)]()


def at_head_empty(environ, start_response):
    start_response("200 OK", plain())
    if environ["REQUEST_METHOD"] != "HEAD":
        return [b"12345"]
    return [b""] if query(environ) else []


def at_long(environ, start_response):
    start_response("200 OK", plain(("Content-Length", "4")))
    return Body(b"12", b"345678")


def at_endless(environ, start_response):
    start_response("200 OK", plain(("Content-Length", "4")))

    def blocks():
        for number in range(50):
            note("asked", number)
            yield b"12"
    return blocks()


def at_write_long(environ, start_response):
    write = start_response("200 OK", plain(("Content-Length", "4")))
    write(b"1234")
    try:
        write(b"5678")
    except Exception as error:
        note("raised", type(error).__name__)
    else:
        note("not raised")
    return []


def at_short(environ, start_response):
    start_response("200 OK", plain(("Content-Length", "10")))
    return Body(b"123")


def at_stream(environ, start_response):
    start_response("200 OK", plain())
    return Body(b"one", b"two")
