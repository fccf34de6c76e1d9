"""Applications that use `ngx_reactor`: a prelude, and the event that wakes a handler."""

import textwrap

from . import apps, waiting

PRELUDE = waiting.PRELUDE + '''
import ngx_reactor
from ngx_reactor import (NGX_READ_EVENT, NGX_WRITE_EVENT, add_event, add_timer, create_event, del_event, del_timer,
                         post)

events = {}


def event(name, handler, arg=None):
    """An event for the first end of a pair, which it waits for to be readable."""
    events[name] = create_event(pair(name), handler, arg)
    add_event(events[name], NGX_READ_EVENT)
    return events[name]


def quiet(name):
    """Takes the event back, and its pair."""
    found = events.pop(name)
    if found.active:
        del_event(found)
    part(name)


def at_quiet(environ, start_response):
    for name in list(events):
        quiet(name)
    return answer(start_response, None)


def fill(end):
    try:
        while True:
            end.send(b"x" * 65536)
    except BlockingIOError:
        return end
'''


def serve(nginx, text="", server=apps.EVERYTHING, **options):
    """A server with `app.py`, of the preludes and `text`, in which at_NAME answers /NAME."""
    return apps.serve(nginx, PRELUDE + textwrap.dedent(text), server, **options)


def ask(server, target):
    """The answer as JSON."""
    answer = server.get(target)
    assert answer.status == 200, f"{answer}\n{server.tail()}"
    return answer.json()
