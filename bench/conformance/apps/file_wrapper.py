"""Answers for rules 46 to 50: wsgi.file_wrapper."""

import io
import os

from conformance.apps.tools import FOLDER, note, plain, query, report


class Noted:
    """A file with read() and close() only; both are noted."""

    def __init__(self, file):
        self.file = file

    def read(self, *size):
        return self.file.read(*size)

    def close(self):
        note("close")
        self.file.close()


class NotedFile(io.FileIO):
    def close(self):
        if not self.closed:
            note("close")
        super().close()


class Reader:
    def __init__(self, data):
        self.read = io.BytesIO(data).read


def pipe():
    reader, writer = os.pipe()
    os.write(writer, b"0123456789")
    os.close(writer)
    return os.fdopen(reader, "rb")


def opened(kind, data=os.path.join(FOLDER, "data")):
    file = NotedFile(data) if kind == "closed" else open(data, "rb")
    if kind == "position":
        file.readline()
    return file


def at_file(environ, start_response):
    """How the file is made or used is in the query."""
    kind = query(environ)
    wrapper = environ["wsgi.file_wrapper"]
    headers = plain(("Content-Length", "12")) if kind == "length" else plain()
    write = start_response("200 OK", headers)
    if kind == "middleware":
        return (block.upper() for block in wrapper(io.BytesIO(b"by hand"), 3))
    if kind == "not_returned":
        wrapper(opened(kind))
        return [b"something else"]
    if kind == "write":
        write(b"written ")
        return wrapper(io.BytesIO(b"wrapped"))
    if kind == "write_file":
        write(b"written ")
        return wrapper(opened(kind))
    files = {"bytesio": lambda: io.BytesIO(b"0123456789"), "reader": lambda: Reader(b"0123456789"),
             "noted": lambda: Noted(io.BytesIO(b"0123456789")), "pipe": pipe}
    return wrapper(files.get(kind, lambda: opened(kind))(), 4096)


def at_file_wrapper(environ, start_response):
    wrapper = environ.get("wsgi.file_wrapper")
    return report(start_response, callable(wrapper))
