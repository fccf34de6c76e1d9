"""What the tests of asyncio share: `serve` is harness.apps.serve with a prelude for coroutines.

`async def on_NAME(environ)` answers /NAME; what it returns is sent as JSON, or as it is if it is bytes. `at_NAME` is an
application as in harness.apps.
"""

import textwrap

from . import apps

PRELUDE = '''
import asyncio
import contextlib
import contextvars
import socket
import threading

from ngx_wsgi.asyncio import get_loop, respond, wait

# Made now, its descriptors are among those that the worker had from the start.
LOOP = get_loop()


async def file(name):
    """Waits for a file that the test makes."""
    while not there(name):
        await asyncio.sleep(0.005)


async def _answer(work):
    value = await work
    return "200 OK", PLAIN, value if isinstance(value, bytes) else json.dumps(value).encode()


def application(environ, start_response):
    name = environ["PATH_INFO"].split("/")[1]
    if "at_" + name in globals():
        return globals()["at_" + name](environ, start_response)
    return respond(environ, start_response, _answer(globals()["on_" + name](environ)))
'''


def serve(nginx, text, server=apps.EVERYTHING, **options):
    return apps.serve(nginx, PRELUDE + textwrap.dedent(text), server, **options)
