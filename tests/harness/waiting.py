"""Applications that wait in nginx's event loop: a prelude for them, and how tests see that they do."""

import collections
import contextlib
import textwrap

from . import apps
from .nginx import open_fds, wait_for

PRELUDE = '''
import select
import socket
import threading

# What resumes a request, by the name that it has given itself.
resumes = {}
# Two connected sockets, by the name of the request that looks at the first.
pairs = {}


def pair(name):
    pairs[name] = socket.socketpair()
    for end in pairs[name]:
        end.setblocking(False)
    return pairs[name][0]


def part(pair):
    for end in pairs.pop(pair):
        end.close()


def at_hello(environ, start_response):
    return answer(start_response, b"hello")


def at_resume(environ, start_response):
    """Resumes the request that the query string names."""
    return answer(start_response, resumes[environ["QUERY_STRING"]]())


def at_send(environ, start_response):
    """Sends to the request that the query string names."""
    pairs[environ["QUERY_STRING"]][1].send(b"x")
    return answer(start_response, b"sent")


def at_hang_up(environ, start_response):
    pairs[environ["QUERY_STRING"]][1].close()
    return answer(start_response, b"hung up")


def waiting(environ, name, key="x-wsgiorg.suspend"):
    """Blocks of a body: the second is there when somebody resumes it."""
    try:
        resumes[name] = environ[key]()
        note("waits", name)
        yield b""
        note("goes on", name)
        yield b"done " + name.encode()
    finally:
        note("finally", name)


def at_wait(environ, start_response):
    """Waits until it is resumed by the name in its query string."""
    start_response("200 OK", PLAIN)
    return waiting(environ, environ["QUERY_STRING"])


def at_began(environ, start_response):
    """The same, but its head is sent before."""
    name = environ["QUERY_STRING"]
    start_response("200 OK", PLAIN)
    yield b"first "
    yield from waiting(environ, name)


def at_readable(environ, start_response):
    """Waits until somebody sends to it."""
    name = environ["QUERY_STRING"]
    end = pair(name)
    start_response("200 OK", PLAIN)
    try:
        note("waits", name)
        yield environ["x-wsgiorg.fdevent.readable"](end)
        note("goes on", name)
        yield b"read " + end.recv(100)
    finally:
        note("finally", name)
        part(name)
'''


def serve(nginx, text="", server=apps.EVERYTHING, **options):
    """A server with `app.py`, of the preludes and `text`, in which at_NAME answers /NAME."""
    return apps.serve(nginx, PRELUDE + textwrap.dedent(text), server, **options)


def send(server, target, headers=(), **where):
    """A request whose application notes that it waits; the client, once it is suspended."""
    count = len(apps.notes(server, "waits"))
    client = server.connect(**where)
    client.send_request("GET", target, headers)
    suspended(server, count + 1)
    return client


def suspended(server, count=1):
    """Returns when so many requests have noted that they wait, and have left Python since."""
    apps.wait_notes(server, "waits", count)
    assert server.get("/hello").body == b"hello"


def resume(server, name):
    """What resume() of the request says in a slice of another one."""
    answer = server.get(f"/resume?{name}")
    assert answer.status == 200, f"{answer}\n{server.tail()}"
    return answer.json()


def watched(pid):
    """What a worker has in its epoll set: kinds of files, and how many of each."""
    found, files = collections.Counter(), open_fds(pid)
    for fd, target in files.items():
        if target == "anon_inode:[eventpoll]":
            with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}") as file:
                found.update(files.get(int(line.split()[1]), "closed").split("[")[0]
                             for line in file if line.startswith("tfd:"))
    return found


@contextlib.contextmanager
def nothing_left(server):
    """The worker has as many files open afterwards as before, and watches as many. Ends the clients of the test."""
    pid = server.worker

    def held():
        kinds = collections.Counter(target.split("[")[0] for target in open_fds(pid).values())
        return {"open": dict(kinds), "watched": dict(watched(pid))}
    before = apps.settled(held, quiet=0.1)
    yield
    for client in server.clients:
        client.close()
    wait_for(lambda: held() == before, lambda: f"nothing is left: {held()}, before {before}\n{server.tail()}")
