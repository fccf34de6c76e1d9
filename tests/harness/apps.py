"""What the applications of many tests share: a prelude in front of their text, and the notes they leave.

An application says what happened to it by `note("...")`, one line in the file `notes` of its folder. It waits for
the test with `there("name")`, and the test answers by `touch(server, "name")`.
"""

import textwrap
import time

from .nginx import SLOW, wait_for

PRELUDE = '''
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PLAIN = [("Content-Type", "text/plain")]


def note(*words):
    with open(os.path.join(HERE, "notes"), "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


def there(name):
    return os.path.exists(os.path.join(HERE, name))


def block_until_there(name):
    deadline = time.monotonic() + 20
    while not there(name):
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.002)


def planned():
    try:
        raise RuntimeError("planned")
    except RuntimeError:
        return sys.exc_info()


def answer(start_response, value, again=False):
    """Answers with bytes, or with anything as JSON; `again` after calls of start_response that were refused."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers, *([planned()] if again else []))
    return [body]


def refused(start_response, status, headers):
    """What a call of start_response raises. With exc_info, because only so may it be called many times."""
    return raised(start_response, status, headers, planned())


def raised(function, *args, **kwargs):
    """The name of the exception that a call raises, or None."""
    try:
        function(*args, **kwargs)
    except BaseException as error:
        return type(error).__name__
    return None


class Body:
    """An iterator without a length. It notes its end and its close(); an exception among its items is raised."""

    def __init__(self, *items, name="body"):
        self.items = iter(items)
        self.name = name

    def __iter__(self):
        return self

    def __next__(self):
        try:
            item = next(self.items)
        except StopIteration:
            note("end", self.name)
            raise
        if isinstance(item, BaseException):
            raise item
        return item() if callable(item) else item

    def close(self):
        note("close", self.name)


def application(environ, start_response):
    """The first part of the path names the function that answers."""
    return globals()["at_" + environ["PATH_INFO"].split("/")[1]](environ, start_response)
'''

EVERYTHING = "location / { wsgi_pass app.py; }"


def serve(nginx, text, server=EVERYTHING, **options):
    """A server with the application `app.py`, made of the prelude and `text`, in which at_NAME answers /NAME."""
    apps = {"app.py": PRELUDE + textwrap.dedent(text), **options.pop("apps", {})}
    return nginx(server, apps=apps, **options)


def notes(server, start=""):
    """What the application noted so far, of that only what begins with `start`."""
    try:
        lines = (server.folder / "notes").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if line.startswith(start)]


def wait_notes(server, start, count=1, timeout=10):
    """Waits for `count` notes that begin with `start`; all of them."""
    def enough():
        found = notes(server, start)
        return found if len(found) >= count else None
    return wait_for(enough, lambda: f"{count} note(s) {start!r}: {notes(server)}\n{server.tail()}", timeout)


def forget(server):
    (server.folder / "notes").unlink(missing_ok=True)


def touch(server, name):
    (server.folder / str(name)).touch()


def settled(value, quiet=0.25, timeout=10):
    """The value of `value()` once it stayed the same for a moment."""
    deadline = time.monotonic() + timeout * SLOW
    last, since = value(), time.monotonic()
    while time.monotonic() - since < quiet * SLOW:
        now = value()
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() > deadline:
            raise AssertionError(f"still changing: {last!r}")
        time.sleep(0.01)
    return last


def in_kernel(client):
    """Bytes of the answer which the kernel holds for a client on 127.0.0.1: not yet received, or not yet read."""
    def address(pair):
        host, port = pair
        return "".join(f"{int(part):02X}" for part in reversed(host.split("."))) + f":{port:04X}"
    ours, peer = address(client.sock.getsockname()), address(client.sock.getpeername())
    total = 0
    with open("/proc/net/tcp") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            sending, _, waiting = fields[4].partition(":")
            if (fields[1], fields[2]) == (peer, ours):
                total += int(sending, 16)
            elif (fields[1], fields[2]) == (ours, peer):
                total += int(waiting, 16)
    return total
