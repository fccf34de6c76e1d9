"""Servers that are slow, dead or strange, and clients that leave while an application waits for such a server."""

import socket

import pytest

from harness.apps import wait_notes
from harness.asynchronous import answers, ask, serve_client
from harness.nginx import free_port, open_fds, wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    async def async_tried(environ):
        try:
            status, body = await fetch(query(environ))
            return body
        except TIMEOUTS as error:
            return "504 Gateway Timeout", PLAIN, type(error).__name__.encode()
        except ERRORS as error:
            return "502 Bad Gateway", PLAIN, type(error).__name__.encode()
        except asyncio.CancelledError:
            note("cancelled")
            raise

    async def async_limited(environ):
        # A limit of asyncio's own around whatever the client does.
        try:
            async with asyncio.timeout(0.1):
                return (await fetch(query(environ)))[1]
        except TimeoutError:
            return "504 Gateway Timeout", PLAIN, b"limited"

    async def async_fastest(environ):
        # The first answer counts; the other questions are taken back.
        tasks = [asyncio.create_task(fetch(url)) for url in query(environ).split("|")]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return done.pop().result()[1]
    """


@pytest.fixture(params=["aiohttp", "httpx"])
def client(request):
    return request.param


@pytest.fixture
def server(nginx, client):
    return serve_client(nginx, client, APP)


def test_a_time_limit(nginx, client, upstream):
    server = serve_client(nginx, client, APP, env={"TIMEOUT": "0.2"})
    found = answers(ask(server, *[f"/tried?{upstream.url}/wait?n{number}" for number in range(5)]))
    assert [answer.status for answer in found] == [504] * 5
    upstream.wait_gone(*upstream.arrived)
    upstream.let("quick")
    wait_for(lambda: server.get(f"/tried?{upstream.url}/wait?quick").text == "quick", "an answer in time")


def test_a_time_limit_of_asyncio(server, upstream):
    found = answers(ask(server, *[f"/limited?{upstream.url}/wait?n{number}" for number in range(5)]))
    assert [(answer.status, answer.text) for answer in found] == [(504, "limited")] * 5
    # Whoever came so far has been left.
    upstream.wait_gone(*upstream.arrived)


def test_nobody_listens(server):
    found = answers(ask(server, *[f"/tried?http://127.0.0.1:{free_port()}/"] * 10))
    assert [answer.status for answer in found] == [502] * 10
    assert all("Connect" in answer.text for answer in found)


def test_a_name_that_does_not_exist(server):
    """The name is looked up in a thread of the loop's executor."""
    assert server.get("/tried?http://nowhere.invalid/").status == 502


def test_a_server_that_closes_at_once(server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        clients = ask(server, *[f"/tried?http://127.0.0.1:{listener.getsockname()[1]}/"] * 3)
        while clients:
            listener.settimeout(5)
            peer, _ = listener.accept()
            peer.recv(100)
            peer.close()
            # A client may try once more.
            clients = [client for client in clients if not _answered(client)]


def _answered(client):
    client.sock.settimeout(0.1)
    try:
        assert client.read_response().status == 502
        return True
    except TimeoutError:
        return False


def test_the_client_leaves(server, upstream):
    names = [f"n{number}" for number in range(12)]
    clients = ask(server, *[f"/tried?{upstream.url}/wait?{name}" for name in names])
    upstream.wait_arrived(*names)
    for visitor in clients[::3]:
        visitor.reset()
    for visitor in clients[1::3]:
        visitor.close()
    # Their questions are taken back: the upstream sees it, and no other.
    upstream.wait_gone(*names[::3], *names[1::3])
    wait_notes(server, "cancelled", 8)
    for name in names[2::3]:
        upstream.let(name)
    assert [answer.text for answer in answers(clients[2::3])] == names[2::3]
    assert len(upstream.gone) == 8


def test_no_descriptor_is_left(server, upstream):
    """Of requests that were given up in all ways."""
    upstream.let("n")
    assert server.get(f"/tried?{upstream.url}/wait?n").text == "n"
    before = len(open_fds(server.worker))
    for turn in range(3):
        clients = ask(server, *[f"/tried?{upstream.url}/wait?{turn}-{number}" for number in range(10)])
        upstream.wait_arrived(*[f"{turn}-{number}" for number in range(10)])
        for visitor in clients:
            visitor.reset()
        upstream.wait_gone(*[f"{turn}-{number}" for number in range(10)])
        assert server.get(f"/limited?{upstream.url}/wait?late").status == 504
    wait_for(lambda: len(open_fds(server.worker)) <= before + 1, lambda: f"{before}: {open_fds(server.worker)}")


def test_the_fastest_answer(server, upstream):
    client, = ask(server, f"/fastest?{upstream.url}/wait?a|{upstream.url}/wait?b|{upstream.url}/wait?c")
    upstream.wait_arrived("a", "b", "c")
    upstream.let("b")
    assert client.read_response().text == "b"
    upstream.wait_gone("a", "c")
