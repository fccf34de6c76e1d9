"""Applications in threads: a prelude for them, and how tests see what their requests are doing."""

import itertools
import os
import select
import textwrap

from . import apps
from .nginx import wait_for

PRELUDE = '''
import ctypes
import threading

_c = ctypes.PyDLL(None)


class _Poll(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


def hold_gil(name):
    """One call of a C function that keeps the GIL, as a long match of `re` does, until the test lets it go."""
    fifo = os.path.join(HERE, name)
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    poll = _Poll(fd, 1, 0)
    note("holds", name)
    _c.poll(ctypes.byref(poll), 1, 20000)
    note("lets go", name)
    os.close(fd)


def at_hold(environ, start_response):
    hold_gil(environ["QUERY_STRING"] or "held")
    return answer(start_response, b"held")


def at_wait(environ, start_response):
    """Waits for the file that its query string names."""
    note("wait", environ["QUERY_STRING"])
    block_until_there(environ["QUERY_STRING"])
    note("done", environ["QUERY_STRING"])
    return answer(start_response, environ["QUERY_STRING"].encode())


def at_hello(environ, start_response):
    note("hello", environ["QUERY_STRING"])
    return answer(start_response, b"hello")
'''


def serve(nginx, text="", *, threads="2", server="", more="", **options):
    """A server with `app.py` at /, with `wsgi_threads` as `threads` says; `server` instead of all locations, `more`
    besides. /static/NAME is a file in the folder, /ok is nginx's own answer."""
    config = server or f"""
        wsgi_threads {threads};
        location / {{ wsgi_pass app.py; }}
        location /static/ {{ alias %%FOLDER%%/static/; }}
        location = /ok {{ return 200 "ok"; }}
        {more}
    """
    files = {"static/file.txt": "static", **options.pop("apps", {})}
    return apps.serve(nginx, PRELUDE + textwrap.dedent(text), config, apps=files, **options)


def let_go(server, name="held"):
    """Lets an application go on that holds the GIL."""
    with open(server.folder / name, "wb", buffering=0) as fifo:
        fifo.write(b"go")


def hold(server, name="held", target="/hold"):
    """A client whose application has the GIL, until `let_go`."""
    client = server.connect()
    client.send_request("GET", f"{target}?{name}")
    apps.wait_notes(server, f"holds {name}")
    return client


def wait_in_nginx(server, count):
    """Waits until nginx has read so many requests that it has not answered: they run, or wait for a thread."""
    wait_for(lambda: server.status()["writing"] == count + 1,
             lambda: f"{count} requests in nginx: {server.status()}\n{apps.notes(server)}\n{server.tail()}")


def ask(server, target, headers=()):
    """Sends a request and waits until nginx has it, or has answered it; the client."""
    # The number of requests only grows, by one with each look at it. The number of those being answered may still
    # hold an earlier look, which another worker has not quite finished.
    before, looks = server.status()["requests"], itertools.count(1)
    client = server.connect()
    client.send_request("GET", target, headers)
    wait_for(lambda: server.status()["requests"] > before + next(looks) or select.select([client.sock], [], [], 0)[0],
             lambda: f"nginx has {target}: {server.status()}")
    return client


def threads_of(pid):
    """The numbers of the threads of a process."""
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
