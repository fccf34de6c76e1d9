"""Starts Twisted's reactor in a worker, where nobody can call run(): nginx's own event loop runs already.

Import this before anything that imports `twisted.internet.reactor`, and inside a function, not with the application:
`nginx -t` may import the application where there is no event loop.
"""

import asyncio

from ngx_wsgi.asyncio import get_loop
from twisted.internet import asyncioreactor

asyncioreactor.install(get_loop())

from twisted.internet import reactor  # noqa: E402  the one that has just been installed


async def stop_with_the_worker():
    """Cancelled when the worker ends. Twisted's threads have to be told to end, or Python would wait for them."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        if reactor.running:
            reactor.fireSystemEvent("shutdown")


# What run() does before it runs the loop. Signals belong to nginx.
reactor.startRunning(installSignalHandlers=False)
_ending = get_loop().create_task(stop_with_the_worker())
