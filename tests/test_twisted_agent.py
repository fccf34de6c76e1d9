"""twisted.web.client.Agent in a worker: the application is suspended until its Deferred fires."""

import pytest

from harness.apps import wait_notes
from harness.asynchronous import answers, ask
from harness.nginx import free_port
from harness.twisted import serve

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    from twisted.web.client import Agent, HTTPConnectionPool, readBody

    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 50
    agent = Agent(reactor, pool=pool, connectTimeout=5)

    def url(environ):
        found = query(environ)
        return (found if "://" in found else f"http://localhost:{environ['SERVER_PORT']}{found}").encode()

    def deferred_fetch(environ):
        def failed(failure):
            # Cancelled in the middle of a request, Twisted says, the response was never received.
            note("failed", failure.type.__name__)
            return failure
        return agent.request(b"GET", url(environ)).addCallback(readBody).addErrback(failed)

    @defer.inlineCallbacks
    def deferred_inline(environ):
        response = yield agent.request(b"GET", url(environ))
        body = yield readBody(response)
        return [response.code, body.decode()]

    def deferred_coroutine(environ):
        async def both():
            first, second = await defer.gatherResults([deferred_fetch(environ), deferred_fetch(environ)])
            return first + second
        return defer.ensureDeferred(both())

    def deferred_limited(environ):
        return deferred_fetch(environ).addTimeout(0.1, reactor, lambda failure, seconds: f"{seconds} s")

    def deferred_refused(environ):
        return agent.request(b"GET", url(environ)).addErrback(lambda failure: failure.type.__name__)
    """

LOCATIONS = """
    location / { wsgi_pass app.py; }
    location /file { return 200 "static"; }
"""

HOW = ["until", "wait", "respond"]


@pytest.fixture
def server(nginx):
    # Connections to this very nginx that the agent keeps are no leak.
    return serve(nginx, APP, LOCATIONS, check_connections=False)


def test_requests_are_fetched_side_by_side(server, upstream):
    for how in HOW:
        names = [f"{how}{number}" for number in range(20)]
        clients = ask(server, *[f"/fetch/{how}?{upstream.url}/wait?{name}" for name in names])
        upstream.wait_arrived(*names)
        assert server.get("/fetch?/file").text == "static"
        for name in reversed(names):
            upstream.let(name)
        assert [answer.text for answer in answers(clients)] == names
        assert server.get(f"/fetch/{how}?{upstream.url}/bytes?5000000").body == b"x" * 5000000
    # The connections of the first ones served the others too.
    assert upstream.connections == 20


def test_inline_callbacks_and_coroutines(server, upstream):
    assert server.get(f"/inline?{upstream.url}/bytes?3").json() == [200, "xxx"]
    assert server.get(f"/coroutine?{upstream.url}/bytes?3").text == "xxxxxx"
    assert server.get("/inline/until?/file").json() == [200, "static"]


def test_the_client_leaves(server, upstream):
    for how in HOW:
        names = [f"{how}{number}" for number in range(4)]
        clients = ask(server, *[f"/fetch/{how}?{upstream.url}/wait?{name}" for name in names])
        upstream.wait_arrived(*names)
        clients[1].reset()
        clients[2].close()
        upstream.wait_gone(names[1], names[2])
        upstream.let(names[0])
        upstream.let(names[3])
        assert [answer.text for answer in answers([clients[0], clients[3]])] == [names[0], names[3]]
    wait_notes(server, "failed ResponseNeverReceived", 6)
    assert len(upstream.gone) == 6


def test_errors(server, upstream):
    assert server.get(f"/limited?{upstream.url}/wait?late").json() == "0.1 s"
    upstream.wait_gone("late")
    assert server.get(f"/refused?http://127.0.0.1:{free_port()}/").json() == "ConnectionRefusedError"
    # The reactor's threads look names up.
    assert server.get("/refused?http://nowhere.invalid/").json() == "DNSLookupError"
    for how in HOW:
        since = server.log_size()
        assert server.get(f"/fetch/{how}?http://127.0.0.1:{free_port()}/").status == 500
        server.wait_for_log("raised ConnectionRefusedError", since=since)
        with pytest.raises(AssertionError):
            server.wait_for_log("Unhandled error in Deferred|never retrieved", timeout=0.1)
