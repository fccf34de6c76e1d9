"""Answers for rules 22 to 32: start_response()."""

import gc
import sys
import weakref

from conformance.apps.tools import KEPT, note, plain, planned, query, report, wait


def at_positional(environ, start_response):
    write = start_response("200 OK", plain(), None)
    return [b"callable" if callable(write) else repr(write).encode()]


STATUSES = {"break": "200 OK\r\nX-Injected: 1", "letters": "abc", "short": "20 Short", "long": "2000 Long",
            "empty": ""}


def at_status(environ, start_response):
    start_response(STATUSES[query(environ)], plain())
    return [b"not to be seen"]


HEADERS = {
    "break": ("X-Value", "a\r\nX-Injected: 1"), "feed": ("X-Value", "a\nX-Injected: 1"),
    "name_space": ("X Name", "1"), "name_colon": ("X-Name: a", "1"), "name_empty": ("", "1"),
    "name_break": ("X-Name: a\r\nX-Injected", "1"),
    "int": ("X-Value", 1), "bytes": ("X-Value", b"1"), "none": ("X-Value", None), "euro": ("X-Value", "\u20ac"),
}


def at_header(environ, start_response):
    start_response("200 OK", plain(HEADERS[query(environ)]))
    return [b"not to be seen"]


def at_header_raised(environ, start_response):
    try:
        start_response("200 OK", plain(HEADERS["break"]))
    except Exception as error:
        start_response("200 OK", plain(), sys.exc_info())
        return [f"raised {type(error).__name__}".encode()]
    return [b"not raised"]


def at_headers_sent(environ, start_response):
    start_response("200 OK", plain(("X-Latin", "caf\xe9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
                                   ("X-Empty", "")))
    return [b"sent"]


def at_hop(environ, start_response):
    name, _, value = query(environ).partition("=")
    start_response("200 OK", plain((name, value)))
    return [b"not to be seen"]


def at_early(environ, start_response):
    start_response("200 OK", plain())
    note("started")
    wait("go", 1.0)
    return [b"late"]


def at_second(environ, start_response):
    start_response("200 OK", plain())
    start_response("201 Created", plain())
    return [b"not to be seen"]


def at_second_after_error(environ, start_response):
    try:
        start_response("200 OK", plain(HEADERS["break"]))
    except Exception:
        pass
    start_response("200 OK", plain())
    return [b"not to be seen"]


def at_replaced(environ, start_response):
    start_response("200 OK", plain(("X-First", "1"), ("Content-Length", "3")))
    start_response("503 Replaced", plain(("X-Second", "2")), planned())
    return [b"replaced"]


def at_too_late(environ, start_response):
    start_response("200 OK", plain())
    yield b"sent"
    try:
        start_response("503 Too Late", plain(), planned())
    except Exception as error:
        note("raised", type(error).__name__, error)
        raise
    note("not raised")
    yield b"more"


class Marked:
    """Something that lives as long as the frame in which an exception was raised."""


def at_frames(environ, start_response):
    def failing():
        mark = Marked()
        KEPT["mark"] = weakref.ref(mark)
        try:
            raise RuntimeError("planned")
        except RuntimeError:
            start_response("500 Planned", plain(), sys.exc_info())
    failing()
    return [b"planned"]


def at_frames_after(environ, start_response):
    alive = KEPT["mark"]() is not None
    gc.collect()
    return report(start_response, [alive, KEPT["mark"]() is not None])


def at_first_step(environ, start_response):
    start_response("202 Accepted", plain(("X-Step", "1")))
    yield b"in the first step"


def at_later_step(environ, start_response):
    yield b""
    yield b""
    start_response("202 Accepted", plain(("X-Step", "1")))
    yield b"in a later step"


def at_data_first(environ, start_response):
    yield b"data"
    start_response("200 OK", plain())
    yield b"more"


def at_own_date(environ, start_response):
    start_response("200 OK", plain(("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Server", "conformance")))
    return [b"dated"]


def at_none(environ, start_response):
    return [b"no status"]
