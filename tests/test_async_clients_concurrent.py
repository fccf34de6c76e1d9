"""aiohttp's client and httpx.AsyncClient in an application: what its requests ask for is fetched side by side."""

import json

import pytest

from harness.asynchronous import answers, ask, serve_client
from harness.nginx import wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    async def async_all(environ):
        # One request that needs several others, at once.
        found = await asyncio.gather(*map(fetch, query(environ).split("|")))
        return [[status, body.decode()] for status, body in found]

    async def async_posted(environ):
        status, body = await fetch(query(environ), "POST", data={"name": "value"}, headers={"X-Test": "1"})
        return [status, json.loads(body)]

    async def async_itself(environ):
        # Another location, and another application, of this very worker.
        return (await fetch("http://localhost:" + environ["SERVER_PORT"] + query(environ)))[1]

    def at_inner(environ, start_response):
        return answer(start_response, b"inner")

    async def async_nested(environ):
        # Ten requests inside each other in one thread.
        depth = int(query(environ))
        if depth == 0:
            return b"."
        status, body = await fetch(f"http://localhost:{environ['SERVER_PORT']}/nested?{depth - 1}")
        return b"(" + body + b")"
    """

LOCATIONS = """
    location / { wsgi_pass app.py; }
    location /file { return 200 "static"; }
"""


@pytest.fixture(params=["aiohttp", "httpx"])
def server(request, nginx):
    # Connections that the client keeps to this very nginx are no leak.
    return serve_client(nginx, request.param, APP, LOCATIONS, check_connections=False)


def test_requests_are_fetched_side_by_side(server, upstream):
    names = [f"n{number}" for number in range(30)]
    clients = ask(server, *[f"/fetch?{upstream.url}/wait?{name}" for name in names])
    # All are there before the first one is answered.
    upstream.wait_arrived(*names)
    assert server.get("/inner").text == "inner"
    for name in reversed(names):
        upstream.let(name)
    assert [answer.text for answer in answers(clients)] == names


def test_several_for_one_request(server, upstream):
    names = [f"n{number}" for number in range(5)]
    client, = ask(server, "/all?" + "|".join(f"{upstream.url}/wait?{name}" for name in names))
    upstream.wait_arrived(*names)
    for name in names:
        upstream.let(name)
    assert client.read_response().json() == [[200, name] for name in names]


def test_headers_and_bodies_arrive(server, upstream):
    status, seen = server.get(f"/posted?{upstream.url}/echo").json()
    assert (status, seen["method"], seen["body"], seen["headers"]["X-Test"]) == (200, "POST", "name=value", "1")
    assert server.get(f"/fetch?{upstream.url}/bytes?5000000").body == b"x" * 5000000


def test_connections_are_used_again(server, upstream):
    for number in range(10):
        upstream.let(f"n{number}")
        assert server.get(f"/fetch?{upstream.url}/wait?n{number}").text == f"n{number}"
    assert upstream.connections == 1
    found = answers(ask(server, *[f"/fetch?{upstream.url}/wait?n{number}" for number in range(10)]))
    assert [answer.text for answer in found] == [f"n{number}" for number in range(10)]
    assert upstream.connections <= 10


@pytest.mark.parametrize("client", ["aiohttp", "httpx"])
def test_a_limit_of_connections(nginx, upstream, client):
    server = serve_client(nginx, client, env={"LIMIT": 2})
    clients = ask(server, *[f"/fetch?{upstream.url}/wait?n{number}" for number in range(6)])
    wait_for(lambda: len(upstream.arrived) == 2, lambda: f"two arrive: {upstream.arrived}")
    for number in range(6):
        upstream.let(f"n{number}")
    assert [answer.text for answer in answers(clients)] == [f"n{number}" for number in range(6)]
    assert upstream.connections == 2


def test_the_worker_asks_itself(server):
    assert server.get("/itself?/file").text == "static"
    assert server.get("/itself?/inner").text == "inner"
    assert server.get("/nested?10").text == "((((((((((.))))))))))"
    found = answers(ask(server, *["/nested?3"] * 10))
    assert [answer.text for answer in found] == ["(((.)))"] * 10


def test_a_server_that_answers_with_an_error(server, upstream):
    port = json.dumps(upstream.port)
    assert server.get(f"/fetch?http://localhost:{port}/nowhere").status == 500
    assert server.get("/itself?/file").text == "static"
