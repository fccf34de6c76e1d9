"""Clients that reset their connection at every byte of a request and of an answer: close() once, nothing is left."""

import itertools
import os

import pytest

from harness.faults import APP, Faulty
from harness.h2client import H2Connection
from harness.http import Connection, build
from harness.nginx import wait_for

pytestmark = pytest.mark.once

# Every byte in `make faults`, a selection otherwise.
STRIDE = int(os.environ.get("WSGI_RESET_STRIDE", "7"))
DRIP = APP + '''
began = []
ended = []


class Dripping(Closing):
    def __init__(self, blocks):
        began.append(1)
        super().__init__(blocks)

    def close(self):
        ended.append(1)
        super().close()


def at_inline(environ, start_response):
    """A byte for each turn of the event loop, or later."""
    def blocks():
        for _ in range(40):
            environ["x-wsgiorg.suspend"](1)
            yield b""
            yield b"x"
    environ["wsgi.input"].read()
    start_response("200 OK", PLAIN)
    return Dripping(blocks())


def at_thread(environ, start_response):
    def blocks():
        for _ in range(40):
            time.sleep(0.0005)
            yield b"x"
    environ["wsgi.input"].read()
    start_response("200 OK", PLAIN)
    return Dripping(blocks())


def at_writes(environ, start_response):
    environ["wsgi.input"].read()
    write = start_response("200 OK", PLAIN)
    body = Dripping([])
    try:
        for _ in range(40):
            write(b"x")
    except OSError:
        body.close()
        raise
    return body


def at_counted(environ, start_response):
    return answer(start_response, [len(began), len(ended)])
'''
PLACES = ("/inline", "/writes", "/threads/thread", "/threads/writes", "/unbuffered/thread")


@pytest.fixture
def faulty(nginx):
    made = Faulty(nginx, text=DRIP, http="wsgi_enable_subinterpreters on;")
    made.warm_up()
    return made


def nothing_is_left(faulty, since=0):
    """Neither in nginx nor in Python; what began has been closed, each once. The number of answers that began."""
    total = []

    def closed():
        total.clear()
        for place in ("/", "/threads/"):
            began, ended = faulty.server.get(place + "counted").json()
            if began != ended:
                return False
            total.append(began)
        return True
    wait_for(closed, lambda: f"what began has ended: {faulty.server.get('/counted').json()}")
    assert not faulty.leftovers(since)
    # A client that leaves is no error.
    assert not faulty.server.log_lines(r"\[(error|crit|alert|emerg)\]", since)
    return sum(total)


def test_in_a_request(faulty):
    for place, chunked in itertools.product(PLACES, (False, True)):
        other = faulty.server.connect()
        request = build("POST", place, [("X-Some", "header")], b"body of it", chunked=chunked)
        for size in (*range(0, len(request), STRIDE), len(request)):
            for is_read in (False, True):
                client = faulty.server.connect()
                client.send(request[:size])
                if is_read:
                    # The worker takes what comes in the order in which it comes.
                    assert other.request("GET", "/part").body == b"part"
                client.reset()
        other.close()
    # The whole ones, of which those in threads may have been told in time.
    assert nothing_is_left(faulty) >= 2 * 2


def test_in_an_answer(faulty):
    for place in PLACES:
        client = faulty.server.connect()
        client.send_request("GET", place, [("Connection", "close")])
        length = len(client.read_rest())
        assert length > 200
        for size in range(1, length + 1, STRIDE):
            client = faulty.server.connect()
            client.send_request("GET", place)
            client.read_exactly(size)
            client.reset()
    assert nothing_is_left(faulty) > 200 // STRIDE * len(PLACES)


class Recording(H2Connection):
    """Keeps what it sends."""

    def flush(self):
        data = self.h2.data_to_send()
        self.sent = getattr(self, "sent", b"") + data
        self.sock.sendall(data)


def test_over_http2(faulty):
    """Within the frames of a request, and after each frame of an answer."""
    address = ("127.0.0.1", faulty.server.h2c_port)
    for place in ("/inline", "/writes", "/threads/thread", "/threads/writes"):
        with Recording(address) as client:
            stream = client.request("POST", place, body=b"body of it")
            assert bytes(stream.body) == b"x" * 40
            sent = client.sent
        for size in range(0, len(sent) + 1, STRIDE):
            with Connection(address) as client:
                client.send(sent[:size])
                client.reset()
        for count in range(1, 40, STRIDE):
            with H2Connection(address) as client:
                stream = client.send_request("POST", place, body=b"body of it")
                client.wait(lambda: len(stream.body) >= count, "so much of an answer")
                Connection.reset(client)
    assert nothing_is_left(faulty) >= 4 * (40 // STRIDE)
