"""Bodies that arrive block by block are passed on block by block, as slowly as the slower side."""

import pytest

from harness.apps import notes, wait_notes
from harness.asynchronous import ask, serve_client
from harness.http import Truncated
from harness.nginx import rss

pytestmark = [pytest.mark.inline_only, pytest.mark.once]


@pytest.fixture(params=["aiohttp", "httpx"])
def server(request, nginx):
    return serve_client(nginx, request.param)


def test_blocks_come_as_they_arrive(server, upstream):
    client, = ask(server, f"/stream?{upstream.url}/stream?slow")
    head = client.read_head()
    assert head.status == 200
    for number in range(5):
        # The upstream rests until it is told that this block has been seen.
        assert client.read_chunk(head) == b"%d" % number
        upstream.let("slow")
    assert client.read_chunk(head) == b"5"
    upstream.finish("slow")
    assert client.read_chunk(head) == b""
    wait_notes(server, "stream ended")


def test_many_streams(server, upstream):
    names = [f"n{number}" for number in range(10)]
    clients = ask(server, *[f"/stream?{upstream.url}/stream?{name}" for name in names])
    heads = [client.read_head() for client in clients]
    for number in range(3):
        for name, client, head in zip(names, clients, heads):
            assert client.read_chunk(head) == b"%d" % number
            upstream.let(name)
    for name in names:
        upstream.finish(name)
    for client, head in zip(clients, heads):
        while client.read_chunk(head):
            pass
        assert head.body.startswith(b"0123")


def test_a_client_that_does_not_read_holds_the_upstream_up(server, upstream):
    """Neither the application nor nginx collects what nobody takes."""
    before = rss(server.worker)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", f"/stream?{upstream.url}/bytes?200000000")
    head = client.read_head()
    for _ in range(20):
        assert client.read_chunk(head)
    assert server.get(f"/fetch?{upstream.url}/bytes?10").body == b"x" * 10
    assert rss(server.worker) - before < 60 << 20
    assert notes(server, "stream ended") == []
    client.reset()
    wait_notes(server, "stream ended")


def test_a_large_body(server, upstream):
    assert server.get(f"/stream?{upstream.url}/bytes?30000000").body == b"x" * 30000000


def test_the_client_leaves(server, upstream):
    """The upstream sees that nobody wants the rest."""
    client, = ask(server, f"/stream?{upstream.url}/stream?left")
    client.read_chunk(client.read_head())
    client.reset()
    upstream.wait_gone("left")
    wait_notes(server, "stream ended")


def test_a_body_that_is_cut(server, upstream):
    client, = ask(server, f"/stream?{upstream.url}/cut")
    with pytest.raises(Truncated) as cut:
        client.read_response()
    assert cut.value.response.body == b"only this"
    server.wait_for_log("ClientPayloadError|RemoteProtocolError")
    assert server.get(f"/fetch?{upstream.url}/bytes?3").text == "xxx"
