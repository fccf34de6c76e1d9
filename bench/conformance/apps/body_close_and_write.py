"""Answers for rules 39 to 41: close() of the iterable, and write()."""

import time

from conformance.apps.tools import KEPT, Body, note, plain, query, report, tried, wait


def at_close(environ, start_response):
    how = query(environ)
    length = {"success": "8", "error": "8", "short": "8"}.get(how)
    start_response({"304": "304 Not Modified", "204": "204 No Content"}.get(how, "200 OK"),
                   [("Content-Length", length)] if length else [])
    return Body(*{"success": [b"12345678"], "error": [b"1234", ValueError("planned")], "short": [b"1234"],
                  "error_first": [ValueError("planned")]}.get(how, [b"body"]))


def at_close_gone(environ, start_response):
    start_response("200 OK", plain())

    class Endless(Body):
        def __next__(self):
            time.sleep(0.01)
            if time.monotonic() > end:
                raise StopIteration
            return b"x" * 10_000
    end = time.monotonic() + 3
    note("called")
    return Endless()


def at_close_outer(environ, start_response):
    start_response("200 OK", plain())

    class Outer:
        def __iter__(self):
            return iter([b"outer"])

        def close(self):
            note("close outer")
    return Outer()


def at_close_raises(environ, start_response):
    start_response("200 OK", plain())

    class Bad(Body):
        def close(self):
            note("close")
            raise ValueError("planned")
    return Bad(b"body")


def at_write(environ, start_response):
    write = start_response("200 OK", plain())
    write(b"written ")
    write(b"twice ")
    return [b"returned"]


def at_write_only(environ, start_response):
    start_response("200 OK", plain())(b"written")
    return []


def at_write_waits(environ, start_response):
    start_response("200 OK", plain())(b"1")
    wait("go")
    return [b"2"]


def at_write_kept(environ, start_response):
    KEPT["write"] = start_response("200 OK", plain())
    return [b"kept"]


def at_write_late(environ, start_response):
    return report(start_response, tried(KEPT["write"], b"much too late"))
