"""wsgi_request_buffering off: an application reads its request while the client still sends it."""

import hashlib

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.http import Truncated
from harness.nginx import open_fds, rss, wait_for
from harness.threads import ask, serve

MIB = 1024 * 1024
OFF = "wsgi_request_buffering off; client_max_body_size 0;"
APP = """
    import hashlib

    def at_steps(environ, start_response):
        stream = environ["wsgi.input"]
        note("begins", environ.get("CONTENT_LENGTH"), environ.get("wsgi.input_terminated"),
             environ.get("HTTP_TRANSFER_ENCODING"))
        for number in range(3):
            note("read", stream.read(5).decode())
        note("rest", stream.read().decode(), stream.read(), stream.read(5))
        return answer(start_response, b"whole")

    def at_digest(environ, start_response):
        size = int(environ["QUERY_STRING"] or 65536)
        total, digest = 0, hashlib.sha256()
        while block := environ["wsgi.input"].read(size):
            total += len(block)
            digest.update(block)
        return answer(start_response, [total, digest.hexdigest()])

    def at_all(environ, start_response):
        body = environ["wsgi.input"].read()
        return answer(start_response, [len(body), hashlib.sha256(body).hexdigest()])

    def at_lines(environ, start_response):
        stream = environ["wsgi.input"]
        found = [stream.readline().decode()]
        note("line", found[0].strip())
        found += [line.decode() for line in stream]
        return answer(start_response, found)

    def at_echo(environ, start_response):
        start_response("200 OK", PLAIN)
        stream = environ["wsgi.input"]
        return iter(lambda: stream.read(10), b"")

    def at_part(environ, start_response):
        note("part", environ["wsgi.input"].read(5).decode())
        return answer(start_response, b"part")

    def at_none(environ, start_response):
        note("none")
        return answer(start_response, b"none")

    def at_gone(environ, start_response):
        class Closing(Body):
            def close(self):
                note("close")
        stream = environ["wsgi.input"]
        note("first", stream.read(5).decode())
        try:
            data = stream.read()
            note("not raised", len(data))
        except BaseException as error:
            note("raised", isinstance(error, OSError), isinstance(error, ConnectionError))
            note("again", raised(stream.read), environ["ngx.client_disconnected"]())
        start_response("200 OK", PLAIN)
        return Closing(b"never")

    def at_lets_pass(environ, start_response):
        note("first", environ["wsgi.input"].read(5).decode())
        environ["wsgi.input"].read()

    def at_slow(environ, start_response):
        stream = environ["wsgi.input"]
        note("first", len(stream.read(1000)))
        block_until_there("go")
        total, digest = 0, hashlib.sha256()
        while block := stream.read(65536):
            total += len(block)
        return answer(start_response, total + 1000)
    """


def data(size):
    return (b"".join(b"%015d\n" % number for number in range(size // 16 + 1)))[:size]


def expected(body):
    return [len(body), hashlib.sha256(body).hexdigest()]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_it_reads_what_has_come(nginx, tls, chunked):
    server = serve(nginx, APP, http=OFF, tls=True)
    client = server.connect(tls=tls)
    how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 20"
    client.send(b"POST /steps HTTP/1.1\r\nHost: a\r\n" + how + b"\r\n\r\n")
    (begins,) = wait_notes(server, "begins")
    # What is not known yet is not said.
    assert begins == ("begins None True None" if chunked else "begins 20 True None")

    def send(text):
        client.send(b"%x\r\n%b\r\n" % (len(text), text) if chunked else text)

    for number, text in enumerate((b"first", b"secon", b"third")):
        assert len(notes(server, "read")) == number
        send(text[:2])
        send(text[2:])
        assert wait_notes(server, "read", number + 1)[-1] == f"read {text.decode()}"
    send(b"and m")
    client.send(b"0\r\n\r\n" if chunked else b"")
    answer = client.read_response()
    assert (answer.status, answer.body) == (200, b"whole")
    assert notes(server, "rest") == ["rest and m b'' b''"]
    # The connection is good for more.
    assert client.request("POST", "/all", body=b"again").json() == expected(b"again")
    assert client.request("GET", "/hello").body == b"hello"


def test_http_2(nginx):
    server = serve(nginx, APP, http=OFF, h2c=True)
    client = server.h2()
    stream = client.send_request("POST", "/steps", end=False)
    assert wait_notes(server, "begins") == ["begins None True None"]
    for number, text in enumerate((b"first", b"secon", b"third")):
        client.send_data(stream, text)
        assert wait_notes(server, "read", number + 1)[-1] == f"read {text.decode()}"
    client.send_data(stream, b"and m", end=True)
    client.finish(stream)
    assert (stream.status, stream.body) == (200, b"whole")
    stream = client.send_request("POST", "/steps", [("content-length", "20")], end=False)
    assert wait_notes(server, "begins", 2)[-1] == "begins 20 True None"
    client.send_data(stream, b"x" * 20, end=True)
    client.finish(stream)
    assert stream.status == 200


@pytest.mark.parametrize("how", ["plain", "chunked", "tls", "h2"])
def test_bodies_of_all_sizes(nginx, how):
    server = serve(nginx, APP, http=OFF, tls=True, h2c=True)
    client = server.h2() if how == "h2" else server.connect(tls=how == "tls")
    for size in (0, 1, 1000, 20_000, 3 * MIB):
        body = data(size)
        for target in ("/digest?1000", "/digest", "/all"):
            options = {"chunked": True} if how == "chunked" else {}
            answer = client.request("POST", target, body=body, **options)
            assert answer.status == 200, server.tail()
            assert answer.json() == expected(body)
    assert not [name for name in open_fds(server.worker).values() if "temp_client_body" in name]


def test_lines_while_they_come(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(b"POST /lines HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nfirst\nse")
    assert wait_notes(server, "line") == ["line first"]
    client.send(b"cond\nthird..")
    assert client.read_response().json() == ["first\n", "second\n", "third.."]


def test_an_echo_while_the_client_still_sends(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n0123456789")
    head = client.read_head()
    assert client.read_chunk(head) == b"0123456789"
    client.send(b"abcdefghij")
    assert client.read_chunk(head) == b"abcdefghij"
    client.send(b"ABCDEFGHIJ")
    assert [client.read_chunk(head), client.read_chunk(head)] == [b"ABCDEFGHIJ", b""]


def test_expect_100_continue(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(b"POST /all HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_head(interim=True).status == 100
    client.send(b"body")
    assert client.read_response().json() == expected(b"body")


@pytest.mark.parametrize("how", ["reset", "close", "tls", "chunked", "stream"])
def test_a_client_that_leaves_makes_read_raise(nginx, how):
    server = serve(nginx, APP, threads=1, http=OFF, tls=True, h2c=True)
    if how == "stream":
        client = server.h2()
        stream = client.send_request("POST", "/gone", end=False)
        client.send_data(stream, b"first")
    else:
        client = server.connect(tls=how == "tls")
        length = b"Transfer-Encoding: chunked" if how == "chunked" else b"Content-Length: 100"
        client.send(b"POST /gone HTTP/1.1\r\nHost: a\r\n" + length + b"\r\n\r\n" +
                    (b"5\r\nfirst\r\n" if how == "chunked" else b"first"))
    wait_notes(server, "first")
    assert settled(lambda: notes(server, "raised")) == []
    if how == "stream":
        client.reset(stream)
    elif how in ("reset", "chunked"):
        client.reset()
    else:
        client.close()
    wait_notes(server, "raised")
    assert notes(server, "raised") == ["raised True True"]
    assert not notes(server, "not raised")
    assert server.get("/hello").body == b"hello"
    assert wait_notes(server, "again") != ["again None True"]


def test_an_application_that_lets_it_pass(nginx):
    server = serve(nginx, APP, threads=1, http=OFF)
    client = server.connect()
    client.send(b"POST /lets_pass HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nfirst")
    wait_notes(server, "first")
    client.reset()
    assert server.get("/hello").body == b"hello"


def test_chunks_that_are_none(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(b"POST /gone HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    wait_notes(server, "first")
    client.send(b"nonsense\r\n")
    assert wait_notes(server, "raised")[0].startswith("raised True")
    client.read_rest()
    assert server.get("/hello").body == b"hello"


def test_client_body_timeout_makes_read_raise(nginx):
    server = serve(nginx, APP, http=OFF + "client_body_timeout 200ms;")
    client = server.connect()
    client.send(b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nfirst")
    assert wait_notes(server, "raised")[0].startswith("raised True")
    client.read_rest()
    assert server.get("/hello").body == b"hello"


@pytest.mark.parametrize("target", ["/part", "/none"])
@pytest.mark.parametrize("how", ["plain", "chunked", "h2"])
def test_what_is_not_read(nginx, target, how):
    """The answer comes while the client sends; nginx gets rid of the rest, or of the connection."""
    server = serve(nginx, APP, http=OFF, h2c=True)
    body = data(300_000)
    if how == "h2":
        client = server.h2()
        stream = client.send_request("POST", target, body=b"first", end=False)
        client.wait(lambda: stream.status is not None)
        assert stream.status == 200
        client.send_data(stream, body, end=True) if stream.reset is None else None
        assert client.request("GET", "/hello").body == b"hello"
        return
    client = server.connect()
    client.send_request("POST", target, body=body, chunked=how == "chunked")
    answer = client.read_response()
    assert (answer.status, answer.body) == (200, target[1:].encode())
    if answer.header("Connection") != "close":
        assert client.request("GET", "/hello").body == b"hello"
    assert server.get("/hello").body == b"hello"


def test_client_max_body_size(nginx):
    server = serve(nginx, APP, http="wsgi_request_buffering off; client_max_body_size 10k;")
    assert server.post("/all", data(20_000)).status == 413
    answer = None
    client = server.connect()
    client.send(b"POST /all HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        client.send(b"4e20\r\n" + data(20_000) + b"\r\n0\r\n\r\n")
        answer = client.read_response(strict=False)
    except (ConnectionError, Truncated):
        pass
    assert answer is None or answer.status in (413, 500, 400)
    assert server.get("/hello").body == b"hello"


def test_an_application_that_reads_slowly_stops_the_client(nginx):
    server = serve(nginx, APP, http=OFF + "client_body_buffer_size 16k;", h2c=True)
    before = rss(server.worker)
    client = server.connect()
    client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (32 * MIB))
    client.sock.setblocking(False)
    sent, block = 0, bytes(65536)

    def push():
        nonlocal sent
        try:
            while sent < 32 * MIB:
                sent += client.sock.send(block[:min(65536, 32 * MIB - sent)])
        except BlockingIOError:
            pass
        return sent

    wait_notes(server, "first 1000") if push() else None
    assert settled(push) < 32 * MIB
    assert rss(server.worker) - before < 8 * MIB
    touch(server, "go")
    client.sock.settimeout(20)
    client.send(bytes(32 * MIB - sent))
    assert client.read_response().json() == 32 * MIB


@pytest.mark.parametrize("how", ["plain", "h2"])
def test_a_large_upload_leaves_memory_flat_and_no_file(nginx, how):
    size = 64 * MIB
    server = serve(nginx, APP, http=OFF, h2c=True)
    body = bytes(size)
    assert server.post("/digest", body[:MIB]).json()[0] == MIB
    before = rss(server.worker)
    if how == "h2":
        answer = server.h2(timeout=60).request("POST", "/digest", body=body[:size // 8])
        assert answer.json()[0] == size // 8
    else:
        client = server.connect(timeout=60)
        assert client.request("POST", "/digest", body=body).json()[0] == size
    assert rss(server.worker) - before < 8 * MIB
    assert not (list((server.folder / "temp_client_body").rglob("*"))
                if (server.folder / "temp_client_body").exists() else [])


def test_others_go_on(nginx):
    server = serve(nginx, APP, threads=2, http=OFF)
    slow = server.connect()
    slow.send(b"POST /all HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    for _ in range(5):
        assert server.get("/hello").body == b"hello"
        assert server.get("/ok").body == b"ok"
    slow.send(b"67890")
    assert slow.read_response().json() == expected(b"1234567890")


def test_queued_requests_keep_what_has_come(nginx):
    server = serve(nginx, APP, threads=1, http=OFF)
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.send_request("POST", "/all", body=data(10_000))
    touch(server, "go")
    assert first.read_response().body == b"go"
    assert [client.read_response().json() for client in clients] == [expected(data(10_000))] * 3


def test_inner_levels(nginx):
    server = serve(nginx, APP, server="""
        wsgi_threads 2; wsgi_request_buffering off;
        location / { wsgi_request_buffering on; wsgi_pass app.py; }
        location /steps { wsgi_pass app.py; wsgi_script_name ""; }
        """)
    buffered = server.connect()
    buffered.send(b"POST /part HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst")
    client = server.connect()
    client.send(b"POST /steps HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nfirst")
    assert wait_notes(server, "read") == ["read first"]
    assert notes(server, "part") == []
    client.send(b"x" * 15)
    buffered.send(b"after")
    assert client.read_response().body == b"whole" and buffered.read_response().body == b"part"


@pytest.mark.parametrize("signal", ["QUIT", "TERM"])
def test_the_end_of_the_worker(nginx, signal):
    server = serve(nginx, APP, http=OFF, check_connections=False, check_fds=False, allow=["open socket left"])
    client = server.connect()
    client.send(b"POST /all HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    wait_for(lambda: server.status()["writing"] == 2, "the request runs")
    server.signal(signal)
    if signal == "QUIT":
        server.wait_for_log("gracefully shutting down")
        client.send(b"67890")
        assert client.read_response().json() == expected(b"1234567890")
        client.close()
    assert server.wait_exit() == 0
