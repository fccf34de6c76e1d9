"""Python without a server: pieces of work, timed where they are done. The same for an interpreter that runs by itself,
which reads their names from stdin, and for one in a server, which finds them in the path."""

import sys
import time
import wsgiref.util

import django_app
import plain

ENVIRON = {}
wsgiref.util.setup_testing_defaults(ENVIRON)


def loop():
    plain.cpu()


def django():
    """A request to a view that says hello."""
    answer = django_app.application(dict(ENVIRON), lambda status, headers: None)
    list(answer)
    answer.close()


# What, and how often it is done in one go.
WORK = {"loop": (loop, 200), "django": (django, 2000)}


def measured(name):
    """Microseconds of CPU time for one piece."""
    work, times = WORK[name]
    begun = time.thread_time_ns()
    for _ in range(times):
        work()
    return (time.thread_time_ns() - begun) / times / 1000


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    body = str(measured(name) if name else "ready").encode()
    start_response("200 OK", plain.headers(plain.TEXT, len(body)))
    return [body]


if __name__ == "__main__":
    for line in sys.stdin:
        print(measured(line.strip()), flush=True)
