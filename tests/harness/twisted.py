"""Applications that use Twisted: its reactor on the loop of ngx_wsgi.asyncio."""

import textwrap

from . import apps, asynchronous

PRELUDE = '''
from twisted.internet import asyncioreactor

LOOP = ngx_wsgi.asyncio.get_loop()
# Before anything imports twisted.internet.reactor.
asyncioreactor.install(LOOP)

from twisted.internet import defer, reactor, task, threads
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, connectProtocol
from twisted.python.failure import Failure


def start():
    """What reactor.run() does, but for running the loop, which nginx does, and for signals, which are nginx's."""
    reactor.startRunning(installSignalHandlers=False)
    # The threads of its pool end with it, and Python waits for them at the end of a worker.
    global ending
    ending = LOOP.create_task(stop_with_the_worker())


async def stop_with_the_worker():
    try:
        await LOOP.create_future()
    finally:
        note("reactor ends")
        if reactor.running:
            reactor.fireSystemEvent("shutdown")


start()


def until(environ, deferred):
    """`result = yield from until(environ, deferred)`, without asyncio; the request's end cancels the Deferred."""
    results = []
    resume = environ["x-wsgiorg.suspend"]()
    deferred.addBoth(results.append).addBoth(lambda _: resume())
    try:
        while not results:
            yield b""
    finally:
        deferred.cancel()
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def application(environ, start_response):
    """/name/how: `deferred_name(environ)` gives a Deferred of the answer; `how` it is waited for: by until, by
    wait, or by respond."""
    name, how = (environ["PATH_INFO"].split("/") + ["respond"])[1:3]
    if "deferred_" + name not in globals():
        return globals()["at_" + name](environ, start_response)
    deferred = defer.maybeDeferred(globals()["deferred_" + name], environ)
    if how == "respond":
        async def response(environ):
            return await deferred.asFuture(LOOP)
        return respond(environ, start_response, answered(response, environ))
    awaited = until(environ, deferred) if how == "until" else wait(environ, deferred.asFuture(LOOP))
    return finished(awaited, start_response)


def finished(awaited, start_response):
    value = yield from awaited
    yield from answer(start_response, value)
'''


def serve(nginx, text, server=apps.EVERYTHING, **options):
    return asynchronous.serve(nginx, PRELUDE + textwrap.dedent(text), ("twisted",), server=server, **options)
