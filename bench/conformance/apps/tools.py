"""What the functions of several rooms need."""

import json
import os
import sys
import time

FOLDER = os.environ["CONFORMANCE_FOLDER"]
# What one request leaves for another.
KEPT = {}


def plain(*more):
    return [("Content-Type", "text/plain"), *more]


def query(environ):
    return environ.get("QUERY_STRING", "")


def note(*words):
    with open(os.path.join(FOLDER, "notes"), "a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def wait(name, seconds=2.0):
    deadline = time.monotonic() + seconds
    while not os.path.exists(os.path.join(FOLDER, name)) and time.monotonic() < deadline:
        time.sleep(0.005)


def report(start_response, value):
    body = json.dumps(value).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def tried(function, *arguments):
    """What a call gives: bytes as text, and the name of an exception."""
    def shown(value):
        if isinstance(value, list):
            return [shown(item) for item in value]
        return value.decode("latin-1") if type(value) is bytes else f"{type(value).__name__} {value!r}"
    try:
        return shown(function(*arguments))
    except Exception as error:
        return f"raised {type(error).__name__}"


def planned():
    try:
        raise RuntimeError("planned")
    except RuntimeError:
        return sys.exc_info()


class Body:
    """An iterator without a length that notes its close(); an exception among its items is raised."""

    def __init__(self, *items):
        self.items = iter(items)

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self.items)
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self):
        note("close")
