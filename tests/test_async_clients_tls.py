"""HTTPS to servers whose certificate an authority of the test has signed, and to one that nobody vouches for."""

import pytest

from harness.asynchronous import answers, ask, serve_client
from harness.nginx import certificate
from harness.upstream import Upstream, authority

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    async def async_verified(environ):
        try:
            status, body = await fetch(query(environ))
            return body
        except ERRORS as error:
            # httpx and aiohttp wrap what ssl says.
            return "502 Bad Gateway", PLAIN, str(error).encode()
    """


@pytest.fixture(params=["aiohttp", "httpx"])
def client(request):
    return request.param


def test_an_authority_of_our_own(nginx, folder, client):
    ca, pair = authority(folder)
    server = serve_client(nginx, client, APP, env={"CA": ca})
    with Upstream(tls=pair) as upstream:
        upstream.let("first")
        assert server.get(f"/verified?{upstream.url}/wait?first").text == "first", server.tail()
        assert server.get(f"/verified?{upstream.url}/bytes?3000000").body == b"x" * 3000000
        names = [f"n{number}" for number in range(20)]
        clients = ask(server, *[f"/verified?{upstream.url}/wait?{name}" for name in names])
        upstream.wait_arrived(*names)
        for name in names:
            upstream.let(name)
        assert [answer.text for answer in answers(clients)] == names
        # Handshakes are expensive: connections are kept.
        assert upstream.connections <= 21
        stream, = ask(server, f"/stream?{upstream.url}/stream?slow")
        head = stream.read_head()
        for number in range(3):
            assert stream.read_chunk(head) == b"%d" % number
            upstream.let("slow")
        stream.reset()
        upstream.wait_gone("slow")


def test_a_certificate_of_nobody(nginx, folder, client):
    ca, _ = authority(folder)
    server = serve_client(nginx, client, APP, env={"CA": ca})
    with Upstream(tls=certificate()) as upstream:
        answer = server.get(f"/verified?{upstream.url}/bytes?3")
        assert answer.status == 502 and "CERTIFICATE_VERIFY_FAILED" in answer.text
        assert upstream.arrived == []


def test_nginx_as_the_https_server(nginx, folder, client):
    """Of the same worker: both ends of the handshake are in one thread."""
    cert, _ = certificate()
    server = serve_client(nginx, client, APP, """
        location / { wsgi_pass app.py; }
        location = /file { return 200 "static"; }
    """, env={"CA": cert}, tls=True, check_connections=False)
    found = answers(ask(server, *[f"/verified?https://localhost:{server.tls_port}/file"] * 10))
    assert [answer.text for answer in found] == ["static"] * 10
