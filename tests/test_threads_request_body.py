"""Request bodies in a thread: in memory and in a temporary file, of clients that are whole, slow or gone."""

import hashlib

import pytest

from harness.apps import notes, wait_notes
from harness.nginx import open_fds, rss, wait_for
from harness.threads import serve

MIB = 1024 * 1024
APP = """
    import hashlib

    def at_read(environ, start_response):
        body = environ["wsgi.input"].read()
        return answer(start_response, [len(body), hashlib.sha256(body).hexdigest(), environ.get("CONTENT_LENGTH")])

    def at_pieces(environ, start_response):
        stream, total, digest = environ["wsgi.input"], 0, hashlib.sha256()
        while block := stream.read(10_001):
            total += len(block)
            digest.update(block)
        return answer(start_response, [total, digest.hexdigest(), environ.get("CONTENT_LENGTH")])

    def at_lines(environ, start_response):
        return answer(start_response, [len(line) for line in environ["wsgi.input"]])

    def at_echo(environ, start_response):
        start_response("200 OK", PLAIN)
        return iter(lambda: environ["wsgi.input"].read(10_000), b"")

    def at_written(environ, start_response):
        write = start_response("200 OK", PLAIN)
        while block := environ["wsgi.input"].read(10_000):
            write(block)
        return []

    def at_ignores(environ, start_response):
        note("ignored")
        return answer(start_response, b"ignored")

    def at_closes(environ, start_response):
        class Closing(Body):
            def close(self):
                note("close", hashlib.sha256(environ["wsgi.input"].read()).hexdigest())
        start_response("200 OK", PLAIN)
        return Closing(b"x" * 100_000)
    """


def data(size):
    return (b"".join(b"%015d\n" % number for number in range(size // 16 + 1)))[:size]


def expected(body, length=True):
    return [len(body), hashlib.sha256(body).hexdigest(), str(len(body)) if length else None]


@pytest.mark.parametrize("buffer", ["1k", "16k", "10m"])
@pytest.mark.parametrize("how", ["plain", "chunked", "tls", "h2"])
def test_bodies_of_all_sizes(nginx, buffer, how):
    server = serve(nginx, APP, http=f"client_max_body_size 10m; client_body_buffer_size {buffer};", tls=True, h2c=True)
    for size in (0, 1, 1024, 20_000, 3 * MIB):
        body = data(size)
        for target in ("/read", "/pieces"):
            if how == "h2":
                answer = server.h2().request("POST", target, body=body)
            else:
                answer = server.post(target, body, tls=how == "tls", chunked=how == "chunked")
            assert answer.status == 200, server.tail()
            assert answer.json()[:2] == expected(body)[:2]
            if size or how == "plain":
                assert answer.json()[2] == str(size)
    wait_for(lambda: not [target for target in open_fds(server.worker).values() if "temp_client_body" in target],
             "the temporary files are closed")


@pytest.mark.parametrize("only", ["on", "clean", "off"])
def test_client_body_in_file_only(nginx, only):
    server = serve(nginx, APP, http=f"client_body_in_file_only {only};")
    for target in ("/read", "/echo", "/written", "/lines"):
        answer = server.post(target, data(50_000))
        if target == "/read":
            assert answer.json() == expected(data(50_000))
        elif target == "/lines":
            assert answer.json() == [16] * (50_000 // 16)
        else:
            assert answer.body == data(50_000)


def test_several_threads_read_files_at_once(nginx):
    server = serve(nginx, APP, threads=4, http="client_max_body_size 0; client_body_buffer_size 1k;")
    bodies = [data(2 * MIB) + b"%d" % number for number in range(6)]
    clients = [server.connect() for _ in bodies]
    for client, body in zip(clients, bodies):
        client.send_request("POST", "/pieces", body=body)
    for client, body in zip(clients, bodies):
        assert client.read_response().json() == expected(body)


def test_a_large_upload_leaves_memory_flat(nginx):
    server = serve(nginx, APP, http="client_max_body_size 0;")
    body = data(64 * MIB)
    assert server.post("/pieces", body[:MIB]).json() == expected(body[:MIB])
    before = rss(server.worker)
    assert server.post("/pieces", body).json() == expected(body)
    assert rss(server.worker) - before < 8 * MIB


@pytest.mark.parametrize("target", ["/echo", "/written"])
def test_reading_while_a_slow_client_is_sent_to(nginx, target):
    server = serve(nginx, APP, http="client_max_body_size 0; client_body_buffer_size 1k;", h2c=True)
    body = data(5 * MIB)
    client = server.connect(rcvbuf=4096)
    client.send_request("POST", target, body=body)
    head = client.read_head()
    assert server.get("/hello").body == b"hello"
    client.read_body(head)
    assert head.body == body
    h2 = server.h2()
    assert bytes(h2.request("POST", target, body=body).body) == body


def test_what_is_not_read_does_not_spoil_the_connection(nginx):
    server = serve(nginx, APP, http="client_body_buffer_size 1k;")
    client = server.connect()
    for size in (10, 5000, 500_000):
        assert client.request("POST", "/ignores", body=data(size)).body == b"ignored"
    assert client.request("POST", "/read", body=b"next").json() == expected(b"next")


@pytest.mark.parametrize("size", [1000, 500_000])
def test_close_can_read_it(nginx, size):
    server = serve(nginx, APP, http="client_body_buffer_size 1k;")
    body = data(size)
    assert len(server.post("/closes", body).body) == 100_000
    assert wait_notes(server, "close") == ["close " + hashlib.sha256(body).hexdigest()]


@pytest.mark.parametrize("http2", [False, True])
def test_a_client_that_leaves_before_its_body_is_complete(nginx, http2):
    """With buffering Python never hears of it."""
    server = serve(nginx, APP, h2c=True)
    if http2:
        client = server.h2()
        stream = client.send_request("POST", "/ignores", [("content-length", "100")], b"half", end=False)
        client.quiet(0.05)
        client.reset(stream)
    else:
        client = server.connect()
        client.send(b"POST /ignores HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        client.reset()
    assert server.get("/hello").body == b"hello"
    wait_for(lambda: server.status()["writing"] == 1, "the request is over")
    assert notes(server, "ignored") == []


def test_slow_uploads_keep_no_thread(nginx):
    server = serve(nginx, APP, threads=1)
    slow = [server.connect() for _ in range(5)]
    for client in slow:
        client.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    for _ in range(3):
        assert server.get("/hello").body == b"hello"
    for client in slow:
        client.send(b"67890")
        assert client.read_response().json() == expected(b"1234567890")


def test_expect_100_continue(nginx):
    server = serve(nginx, APP)
    client = server.connect()
    client.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_head(interim=True).status == 100
    client.send(b"body")
    assert client.read_response().json() == expected(b"body")
