"""X-Accel-Limit-Rate: the application says how fast its answer may go, as with uwsgi_pass.

How much has arrived is compared with an answer of the same size that has come completely meanwhile.
"""

import select
import socket

import pytest

from harness.apps import serve
from harness.nginx import wait_for

# Little enough for the kernel's buffers: what is not limited arrives completely although nobody reads.
SIZE = 40_000
APP = f"""
    def at_list(environ, start_response):
        rate = environ["QUERY_STRING"]
        start_response("200 OK", [("Content-Length", "{SIZE}")] + [("X-Accel-Limit-Rate", rate)] * bool(rate))
        return [b"x" * {SIZE}]

    def at_blocks(environ, start_response):
        rate = environ["QUERY_STRING"]
        start_response("200 OK", [("Content-Length", "{SIZE}")] + [("X-Accel-Limit-Rate", rate)] * bool(rate))
        return iter([b"x" * 4_000] * {SIZE // 4_000})

    def at_to(environ, start_response):
        start_response("200 OK", [("X-Accel-Limit-Rate", environ["QUERY_STRING"]), ("X-Accel-Redirect", "/file")])
        return []

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
CONFIG = """
    location / { twin_pass; }
    location /file { internal; root %%FOLDER%%; }
    location /limited/ { limit_rate 20; rewrite ^/limited(.*)$ $1 break; twin_pass; }
    """


def arrived(client):
    """Bytes that are here, headers among them; they stay where they are."""
    return len(client.sock.recv(2 * SIZE, socket.MSG_PEEK)) if select.select([client.sock], [], [], 0)[0] else 0


@pytest.fixture
def pair(twins):
    made = twins(APP, CONFIG)
    (made.server.folder / "file").write_bytes(b"x" * SIZE)
    return made


def is_slow(pair, target):
    """Whether, on both sides, the answer is on its way when another one has come."""
    slow = []
    for side in pair.sides():
        client, other = side.connect(), side.connect()
        client.send_request("GET", target)
        wait_for(lambda: arrived(client), "the first bytes have come")
        for _ in range(3):
            assert len(other.request("GET", "/list").body) == SIZE
        slow.append(arrived(client) < SIZE // 2)
        # The connection of a client that does not wait for the rest is closed.
        client.reset()
    assert slow[0] == slow[1]
    return slow[0]


@pytest.mark.parametrize("target", ["/list?20", "/blocks?20", "/to?20", "/list?1"])
def test_a_low_rate(pair, target):
    assert is_slow(pair, target)


@pytest.mark.parametrize("value", ["", "0", "none", "-5", "2k", "1.5"])
def test_unusual_values_are_none(pair, value):
    assert is_slow(pair, f"/list?{value}") is False


@pytest.mark.parametrize("value", ["0", "100000000", "none"])
@pytest.mark.parametrize("target", ["/list", "/blocks", "/to"])
def test_no_limit(pair, target, value):
    answer = pair.get(f"{target}?{value}")
    assert answer.complete and len(answer.body) == SIZE
    assert answer.header("X-Accel-Limit-Rate") is None


def test_the_header_overrides_the_location(pair):
    assert is_slow(pair, "/limited/list")
    assert is_slow(pair, "/limited/list?none")
    for value in ("0", "100000000"):
        assert len(pair.get(f"/limited/blocks?{value}").body) == SIZE


def test_all_of_it_comes_and_others_go_on(pair):
    """Two seconds at the most, of which nothing is asserted."""
    for side in pair.sides():
        client, other = side.connect(), side.connect()
        client.send_request("GET", f"/blocks?{SIZE // 2}")
        assert other.request("GET", "/hello").body == b"hello"
        assert client.read_response().body == b"x" * SIZE
        # The next answer on the connection has no limit of this one.
        assert len(client.request("GET", "/list").body) == SIZE


def test_over_http_2(nginx):
    server = serve(nginx, APP, h2c=True)
    client = server.h2()
    limited = client.send_request("GET", "/blocks?20")
    for _ in range(3):
        assert len(client.request("GET", "/list").body) == SIZE
    assert len(limited.body) < SIZE // 2
    client.reset(limited)
