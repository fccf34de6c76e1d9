"""wsgi.input does what io.BytesIO does, wherever nginx keeps the body: in memory, in a file, or in both."""

import io
import json
import pathlib
import random
import sys
import urllib.parse

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "apps"))
from conformance_input import carry_out  # noqa: E402

# Where the body is: a small buffer sends most of it to a file, `clean` all of it.
SERVER = """
    client_max_body_size 0;
    location /memory { wsgi_pass %%APPS%%/conformance_input.py; client_body_buffer_size 1m; }
    location /file { wsgi_pass %%APPS%%/conformance_input.py; client_body_in_file_only clean; }
    location /small { wsgi_pass %%APPS%%/conformance_input.py; client_body_buffer_size 1k; }
    location /single { wsgi_pass %%APPS%%/conformance_input.py; client_body_in_single_buffer on;
                       client_body_buffer_size 64k; }
    """
PLACES = ("memory", "file", "small", "single")


def ask(client, place, body, operations, chunks=None):
    target = f"/{place}?" + urllib.parse.quote(json.dumps(operations))
    if chunks is None:
        got = client.request("POST", target, body=body).json()
    else:
        got = client.request("POST", target, body=chunks, chunked=True).json()
    wanted = carry_out(io.BytesIO(body), operations)
    assert got == wanted, (place, len(body), operations, body[:200])


@pytest.fixture
def clients(nginx):
    server = nginx(SERVER, http="large_client_header_buffers 4 64k;")
    return {place: server.connect() for place in PLACES}


def test_every_size_argument(clients):
    body = b"first\nsecond line\n\nfourth\r\nlast without newline"
    sizes = [[], [None], [-1], [0], [1], [5], [6], [7], [10 ** 6], [2 ** 62], [-(2 ** 62)], [True]]
    for place in PLACES:
        for name in ("read", "readline", "readlines"):
            for size in sizes:
                ask(clients[place], place, body, [["read", 2], [name, *size], [name, *size], ["read"], [name, *size]])
            ask(clients[place], place, b"", [[name, *size] for size in sizes])


def test_wrong_arguments_raise_what_bytesio_raises(clients):
    wrong = [["1"], [1.5], ["x"], [[]], [1, 2]]
    for place in PLACES:
        operations = [[name, *arguments] for name in ("read", "readline", "readlines") for arguments in wrong]
        ask(clients[place], place, b"body\n", [*operations, ["read"]])


def test_a_size_beyond_the_machine_word_raises_or_reads_all(clients):
    for place in PLACES:
        target = f"/{place}?" + urllib.parse.quote(json.dumps([["read", 10 ** 30], ["read"]]))
        first, rest = clients[place].request("POST", target, body=b"body").json()
        assert (first, rest) in (({"raised": "OverflowError"}, "body"), ("body", ""))


def test_end_of_input_for_ever(clients):
    every = [[name, *size] for name in ("read", "readline", "readlines") for size in ([], [0], [1])]
    operations = [["read"], *every] * 3 + [["iter", 5], ["read", 1], ["iter", 5]]
    for place in PLACES:
        for body in (b"", b"\n", b"x", b"some\nlines\n"):
            ask(clients[place], place, body, operations)


def test_newlines_at_the_borders_of_buffers(clients):
    # 1k is where memory ends in /small; 4k and 8k are where a reader of files may have borders of its own.
    for place in PLACES:
        for border in (1024, 4096, 8192, 65536):
            for shift in (-2, -1, 0, 1):
                body = b"a" * (border + shift) + b"\n" + b"b" * 10 + b"\n" + b"c" * border + b"\r\n" + b"d"
                ask(clients[place], place, body, [["readline"], ["readline", 3], ["readline"], ["readlines"]])
                ask(clients[place], place, body, [["read", border - 1], ["readline"], ["iter", 10], ["read"]])
                ask(clients[place], place, body, [["readline", border], ["readlines", 5], ["read", border], ["read"]])


def some_operations(rng, size):
    def amount():
        return rng.choice([[], [None], [-1], [0], [1], [rng.randrange(10)], [rng.randrange(size + 10)]])
    return [rng.choice([["read", rng.randrange(size // 3 + 2)], ["read", rng.randrange(20)], ["readline", *amount()],
                        ["readline"], ["readlines", rng.randrange(1, 100)], ["iter", rng.randrange(1, 5)],
                        ["read", *amount()] if rng.random() < 0.1 else ["readline", rng.randrange(50)]])
            for _ in range(rng.randrange(1, 25))]


@pytest.mark.parametrize("seed", range(4))
def test_random_operations_on_random_bodies(clients, seed):
    rng = random.Random(seed)
    for _ in range(60):
        size = rng.choice([0, 1, 50, 1000, 1024, 1025, 5000, 20000, 70000])
        kind = rng.choice(["lines", "dense", "none", "binary"])
        if kind == "binary":
            body = rng.randbytes(size)
        else:
            odds = {"lines": 0.02, "dense": 0.4, "none": 0}[kind]
            body = bytes(10 if rng.random() < odds else rng.randrange(97, 123) for _ in range(size))
        operations = some_operations(rng, size) + [["read"], ["read"], ["readline"]]
        place = rng.choice(PLACES)
        chunks = None
        if rng.random() < 0.4:
            cuts = sorted(rng.randrange(size + 1) for _ in range(rng.randrange(6)))
            chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, size])]
        ask(clients[place], place, body, operations, chunks)


def test_a_body_that_arrives_byte_by_byte(clients):
    body = b"a\nbc\n\ndef\n" * 30
    for place in PLACES:
        operations = [["readline"], ["read", 3], ["readlines"]]
        client = clients[place]
        target = f"/{place}?" + urllib.parse.quote(json.dumps(operations))
        client.send(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        client.drip(body, size=7, pause=0.001)
        assert client.read_response().json() == carry_out(io.BytesIO(body), operations)
        client.send(f"POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        coded = b"".join(b"%x\r\n%b\r\n" % (len(body[at:at + 11]), body[at:at + 11]) for at in range(0, len(body), 11))
        client.drip(coded + b"0\r\n\r\n", size=5, pause=0.001)
        assert client.read_response().json() == carry_out(io.BytesIO(body), operations)
