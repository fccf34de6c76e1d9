"""A page made of what other servers say, asked by Twisted: HTTP by its Agent, AMP over one connection for all requests.

The application is called, starts asking, and is suspended; its worker serves others, and itself as well: the other
servers are this nginx, and a server of AMP which, so that the example needs nothing else, runs in the same worker.
"""

import functools
import os

from ngx_wsgi.asyncio import get_loop, respond
from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.protocols.amp import AMP
from twisted.web.client import Agent, readBody

import calculator

PATHS = ("/hello", "/environ/?asked=by+Twisted", "/status?format=json")
SUMS = ("0 + ... + 9", "1 / 3", "1 / 0")


def application(environ, start_response):
    return respond_later(environ, start_response, defer.ensureDeferred(page(environ)))


def respond_later(environ, start_response, deferred):
    """The response is what the Deferred will fire with: (status, headers, body). A client that leaves cancels it."""
    return respond(environ, start_response, deferred.asFuture(get_loop()))


async def page(environ):
    """Everything is asked at the same time; the first error, if there is one, is that of the page."""
    # Before the first "await" this runs inside application(); Twisted is started by whoever comes first.
    asked = [fetch(f"http://{environ['SERVER_ADDR']}:{environ['SERVER_PORT']}{path}") for path in PATHS]
    asked += [defer.ensureDeferred(sum_of(range(10))), defer.ensureDeferred(quotient(1, 3)),
              defer.ensureDeferred(quotient(1, 0))]
    answers = await defer.gatherResults(asked, consumeErrors=True)
    lines = [f"{path}: {len(body)} bytes by HTTP" for path, body in zip(PATHS, answers)]
    lines += [f"{text} = {answer} by AMP" for text, answer in zip(SUMS, answers[len(PATHS):])]
    body = "\n".join([*lines, f"asked by worker {os.getpid()}", ""]).encode()
    return "200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))], body


def fetch(url):
    """A Deferred of the body."""
    return agent().request(b"GET", url.encode()).addCallback(readBody)


async def sum_of(numbers):
    answer = await (await remote()).callRemote(calculator.Sum, numbers=list(numbers))
    return answer["total"]


async def quotient(number, by):
    try:
        answer = await (await remote()).callRemote(calculator.Divide, number=number, by=by)
    except ZeroDivisionError:
        # It was raised by the server, and came back over the connection.
        return "an error"
    return answer["result"]


@functools.lru_cache(maxsize=None)
def reactor():
    """The reactor of this worker, started."""
    import engine
    return engine.reactor


@functools.lru_cache(maxsize=None)
def agent():
    # With pool=HTTPConnectionPool(reactor()) it would keep its connections.
    return Agent(reactor(), connectTimeout=5)


@functools.lru_cache(maxsize=None)
def connecting():
    """The server of AMP and a connection to it: a Deferred of the client's side, which all requests share."""
    port = reactor().listenTCP(0, calculator.factory, interface="127.0.0.1").getHost().port
    return connectProtocol(TCP4ClientEndpoint(reactor(), "127.0.0.1", port), AMP())


def remote():
    """A Deferred of one's own: cancelling it, as when a client leaves, takes the connection from nobody else."""
    mine = defer.Deferred()

    def pass_on(result):
        mine.callback(result)
        return result
    connecting().addBoth(pass_on)
    return mine
