"""wsgi_request_buffering off where something else happens: errors, redirects, subrequests, other threads, HTTP/3."""

import hashlib
import re
import time

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.conf import accepts, duplicate, refuses
from harness.nginx import rss, wait_for
from harness.threads import serve

KIB, MIB = 1024, 1024 * 1024
OFF = "wsgi_request_buffering off; client_max_body_size 0; client_body_buffer_size 16k;"
APP = """
    import hashlib

    def attempt(function, *args):
        try:
            return len(function(*args))
        except BaseException as error:
            return f"{type(error).__name__}: {error}"

    def at_digest(environ, start_response):
        size = int(environ["QUERY_STRING"] or 65536)
        total, digest = 0, hashlib.sha256()
        while block := environ["wsgi.input"].read(size):
            total += len(block)
            digest.update(block)
        return answer(start_response, [total, digest.hexdigest()])

    def at_sizes(environ, start_response):
        stream, sizes = environ["wsgi.input"], []
        for size in map(int, environ["QUERY_STRING"].split(",")):
            sizes.append(len(stream.read(size)))
        return answer(start_response, sizes)

    def at_lines(environ, start_response):
        return answer(start_response, [[len(line) for line in environ["wsgi.input"].readlines()],
                                       environ["wsgi.input"].readline()  == b""])

    def at_tell(environ, start_response):
        note("begins", environ.get("CONTENT_LENGTH"))
        note("read", attempt(environ["wsgi.input"].read))
        note("again", attempt(environ["wsgi.input"].read))
        return answer(start_response, b"told")

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"head"
        note("goes on")
        note("read", attempt(environ["wsgi.input"].read))
        yield b"more"

    def at_echo(environ, start_response):
        start_response("200 OK", PLAIN)
        return iter(lambda: environ["wsgi.input"].read(int(environ["QUERY_STRING"] or 10)), b"")

    def at_written(environ, start_response):
        write = start_response("200 OK", PLAIN)
        while block := environ["wsgi.input"].read(10):
            write(block)
        return []

    def at_idle(environ, start_response):
        class Closing(Body):
            def close(self):
                note("close")
        note("idle")
        block_until_there("go")
        start_response("200 OK", PLAIN)
        return Closing(str(attempt(environ["wsgi.input"].read)).encode())

    def at_large(environ, start_response):
        note("first", len(environ["wsgi.input"].read(5)))
        start_response("200 OK", PLAIN)
        return Body(*[b"l" * 100_000] * 20)

    def at_accel(environ, start_response):
        note("first", environ["wsgi.input"].read(5).decode())
        start_response("200 OK", [("X-Accel-Redirect", environ["QUERY_STRING"])])
        return []

    def at_status(environ, start_response):
        note("first", environ["wsgi.input"].read(5).decode())
        start_response(environ["QUERY_STRING"] + " Status", PLAIN)
        return [b"own page"]

    def at_show(environ, start_response):
        return answer(start_response, [environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH"),
                                       environ["wsgi.input"].read().decode()])

    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        note("first", environ["wsgi.input"].read(5).decode())
        yield b'<!--#include virtual="/show" -->|<!--#include virtual="/inline/show" -->|'
        yield environ["wsgi.input"].read()

    def at_helper(environ, start_response):
        stream = environ["wsgi.input"]
        def read():
            note("helper begins")
            note("helper", attempt(stream.read))
        thread = threading.Thread(target=read)
        thread.start()
        block_until_there("go")
        note("main", attempt(stream.read))
        return answer(start_response, b"left")

    def at_delegate(environ, start_response):
        found = []
        thread = threading.Thread(target=lambda: found.append(environ["wsgi.input"].read()))
        thread.start()
        thread.join()
        return answer(start_response, found[0])
    """


def head(target, length="Content-Length: 100", more=""):
    return f"POST {target} HTTP/1.1\r\nHost: a\r\n{length}\r\n{more}\r\n".encode()


CHUNKED = "Transfer-Encoding: chunked"


def expected(body):
    return [len(body), hashlib.sha256(body).hexdigest()]


def is_served(server):
    assert server.get("/hello").body == b"hello"
    return True


# -- the directive


NEEDS = '"wsgi_request_buffering off" needs "wsgi_threads"'


def prepared(nginx, server, http):
    return nginx(server, http=http, start=False, apps={"app.py": ""})


@pytest.mark.parametrize("where", ["http", "server", "location"])
def test_it_needs_threads(nginx, where):
    text = "\nwsgi_request_buffering off;\n"
    inner = "location / { %s wsgi_pass app.py; }" % (text if where == "location" else "")
    http, server = text if where == "http" else "", (text if where == "server" else "") + inner
    refuses(prepared(nginx, server, http), text.strip(), NEEDS)
    accepts(prepared(nginx, server, http + "wsgi_threads 2;"))
    refuses(prepared(nginx, "wsgi_threads 0;" + server, http + "wsgi_threads 2;"), text.strip(), NEEDS)


def test_it_needs_threads_only_where_it_matters(nginx):
    text = "\nwsgi_request_buffering off;\n"
    accepts(prepared(nginx, "location / { return 200; }", text))
    accepts(prepared(nginx, "location / { wsgi_request_buffering on; wsgi_pass app.py; }", text))


def test_wrong_values(nginx, app):
    app("")
    inner = "location / { wsgi_threads 1; wsgi_pass app.py; }"
    refuses(nginx(inner, http="\nwsgi_request_buffering maybe;\n", start=False), "wsgi_request_buffering maybe;",
            'invalid value "maybe" in "wsgi_request_buffering" directive, it must be "on" or "off"')
    twice = "\nwsgi_request_buffering on; wsgi_request_buffering off;\n"
    refuses(nginx(inner, http=twice, start=False), twice.strip(), duplicate("wsgi_request_buffering"))


def test_a_location_that_passes_no_body(nginx):
    server = serve(nginx, APP, http=OFF + "wsgi_pass_request_body off;")
    assert server.post("/show", b"body").json() == ["POST", None, ""]
    assert server.post("/show", b"body", chunked=True).json() == ["POST", None, ""]


# -- reading


@pytest.mark.parametrize("chunked", [False, True])
def test_read_gives_as_many_bytes_as_were_asked_for(nginx, chunked):
    server = serve(nginx, APP, http=OFF)
    body = bytes(MIB)
    answer = server.post("/sizes?0,1,300000,16384,700000,700000,5", body, chunked=chunked)
    assert answer.json() == [0, 1, 300_000, 16_384, 700_000, MIB - 300_001 - 16_384 - 700_000, 0]
    assert server.post("/sizes?-1,-1", body, chunked=chunked).json() == [MIB, 0]


@pytest.mark.parametrize("chunked", [False, True])
def test_lines_longer_than_all_buffers(nginx, chunked):
    server = serve(nginx, APP, http=OFF)
    lines = [100_000, 1, 16_384, 600_000, 7]
    body = b"".join(b"x" * (length - 1) + b"\n" for length in lines) + b"tail"
    assert server.post("/lines", body, chunked=chunked).json() == [[*lines, 4], True]


@pytest.mark.parametrize("target", ["/echo", "/written"])
@pytest.mark.parametrize("how", ["plain", "tls", "h2", "h2 tls"])
def test_an_echo(nginx, how, target):
    server = serve(nginx, APP, http=OFF, tls=True, h2c=True)
    blocks = [b"%010d" % number for number in range(20)]
    if how.startswith("h2"):
        client = server.h2(tls="tls" in how)
        stream = client.send_request("POST", target, end=False)
        for number, block in enumerate(blocks):
            client.send_data(stream, block)
            client.wait(lambda: len(stream.body) == 10 * (number + 1), f"block {number}")
        client.send_data(stream, b"", end=True)
        client.finish(stream)
        assert bytes(stream.body) == b"".join(blocks) and stream.complete
        return
    client = server.connect(tls=how == "tls")
    client.send(head(target, "Content-Length: 200"))
    for number, block in enumerate(blocks):
        client.send(block)
        answer = answer if number else client.read_head()
        assert client.read_chunk(answer) == block
    assert client.read_chunk(answer) == b""
    assert client.request("GET", "/hello").body == b"hello"


def test_a_large_echo(nginx):
    """Both directions are full at times."""
    server = serve(nginx, APP, http=OFF)
    client = server.connect(timeout=30)
    client.send(head("/echo?65536", f"Content-Length: {8 * MIB}"))
    block, sent, got = bytes(64 * KIB), 0, b""
    client.sock.setblocking(False)
    while not got.endswith(b"\r\n0\r\n\r\n"):
        try:
            if sent < 8 * MIB:
                sent += client.sock.send(block[:8 * MIB - sent])
        except BlockingIOError:
            pass
        try:
            got += client.sock.recv(MIB)
        except BlockingIOError:
            time.sleep(0.001)
    assert got.count(b"\0") == 8 * MIB


def test_requests_behind_a_body(nginx):
    """The next request is in the same packet as the end of a body."""
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    for length, body in (("Content-Length: 10", b"0123456789"), (CHUNKED, b"a\r\n0123456789\r\n0\r\n\r\n")):
        client.send(head("/digest", length) + body[:5])
        time.sleep(0.05)
        client.send(body[5:] + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().json() == expected(b"0123456789")
        assert client.read_response().body == b"hello"


# -- the end of a client


@pytest.mark.parametrize("how", ["plain", "tls", "h2"])
def test_a_client_that_leaves_an_application_that_does_not_read(nginx, how):
    """Its buffer is full, so nginx does not read either."""
    server = serve(nginx, APP, threads=1, http=OFF, tls=True, h2c=True)
    if how == "h2":
        client = server.h2()
        stream = client.send_request("POST", "/idle", end=False)
        client.send_data(stream, bytes(60_000))
    else:
        client = server.connect(tls=how == "tls", sndbuf=4096)
        client.send(head("/idle", "Content-Length: 10000000") + bytes(100_000))
    wait_notes(server, "idle")
    client.reset(stream) if how == "h2" else client.close()
    if how != "tls":
        wait_for(lambda: server.access_lines(), "the request has ended")
        assert '" 499 ' in server.access_lines()[0]
    touch(server, "go")
    wait_notes(server, "close")
    assert is_served(server)
    assert len(notes(server, "close")) == 1


def test_the_access_log_of_a_client_that_leaves(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(head("/tell") + b"first")
    wait_notes(server, "begins")
    client.close()
    assert wait_notes(server, "again") == ["again ConnectionResetError: the client has closed the connection"]
    assert notes(server, "read") == ["read ConnectionResetError: the client has closed the connection"]
    assert '" 499 ' in wait_for(server.access_lines, "the access log")[0]


# -- limits


def test_client_body_timeout(nginx):
    server = serve(nginx, APP, http=OFF + "client_body_timeout 200ms;", h2c=True)
    client = server.connect()
    client.send(head("/tell") + b"first")
    assert client.closed()
    text = "TimeoutError: the client sends nothing (client_body_timeout)"
    assert wait_notes(server, "again") == ["again " + text]
    assert notes(server, "read") == ["read " + text]
    assert '" 408 ' in wait_for(server.access_lines, "the access log")[0]
    client = server.connect()
    client.send(head("/stream") + b"first")
    answer = client.read_response(strict=False)
    assert (answer.status, answer.body, answer.complete) == (200, b"head", False)
    stream = server.h2().request("POST", "/tell", [("content-length", "100")], b"first", end=False)
    assert stream.status in (None, 408) and stream.reset is not None
    assert wait_notes(server, "read", 3) == ["read " + text] * 3


def test_an_application_may_take_longer_than_client_body_timeout(nginx):
    """As long as it is not the client who is waited for."""
    server = serve(nginx, APP, http=OFF + "client_body_timeout 300ms;")
    client = server.connect()
    client.send(head("/idle", "Content-Length: 100000") + bytes(100_000))
    wait_notes(server, "idle")
    time.sleep(0.8)
    touch(server, "go")
    assert client.read_response().body == b"100000"


def test_client_max_body_size(nginx):
    server = serve(nginx, APP, http=OFF.replace("size 0", "size 10k") + "error_page 413 /ok;", h2c=True)
    text = "ConnectionAbortedError: the body is too large (client_max_body_size)"
    client = server.connect()
    client.send(head("/tell", CHUNKED) + b"1000\r\n" + bytes(4096) + b"\r\n")
    wait_notes(server, "begins")
    client.send(b"4000\r\n" + bytes(4096))
    answer = client.read_response()
    assert (answer.status, answer.body) == (413, b"ok")
    assert wait_notes(server, "again") == ["again " + text]
    client = server.connect()
    client.send(head("/stream", CHUNKED) + b"5\r\nfirst\r\n")
    answer = client.read_head()
    assert client.read_chunk(answer) == b"head"
    wait_notes(server, "goes on")
    settled(lambda: notes(server))
    client.send(b"4000\r\nx")
    assert wait_notes(server, "read", 2) == ["read " + text] * 2
    assert client.closed()
    stream = server.h2().request("POST", "/tell", body=bytes(20_000), end=False)
    assert (stream.status, bytes(stream.body)) == (413, b"ok")
    assert is_served(server)


@pytest.mark.parametrize("body", [b"5\r\nfirst\r\nx\r\n", b"5\r\nfirst....."])
def test_malformed_chunks(nginx, body):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(head("/tell", CHUNKED))
    wait_notes(server, "begins")
    client.send(body)
    assert client.read_response().status == 400
    assert wait_notes(server, "again") == ["again ConnectionAbortedError: the client has sent a malformed body"]


def test_http_2_lengths_that_lie(nginx):
    server = serve(nginx, APP, http=OFF, h2c=True)
    for body in (b"short", b"much too long for it"):
        client = server.h2()
        stream = client.send_request("POST", "/tell", [("content-length", "10")], end=False)
        client.h2.send_data(stream.number, body, end_stream=True)
        client.flush()
        client.finish(stream)
        assert stream.status == 400 or stream.reset is not None
    assert is_served(server)


# -- what is not read


@pytest.mark.parametrize("how", ["plain", "chunked"])
def test_a_large_response_while_the_client_does_not_send(nginx, how):
    """The application has left; nobody waits for the body any more, so its time limit is over too."""
    server = serve(nginx, APP, http=OFF + "client_body_timeout 300ms;")
    client = server.connect(rcvbuf=4096)
    client.send(head("/large", CHUNKED if how == "chunked" else "Content-Length: 1000000")
                + (b"f0000\r\nfirst" if how == "chunked" else b"first"))
    wait_notes(server, "first")
    answer = client.read_response(strict=False)
    assert answer.status == 200
    assert is_served(server)


def test_the_rest_is_discarded(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect(timeout=20)
    client.send(head("/status?200", f"Content-Length: {4 * MIB}") + b"first")
    answer = client.read_response()
    assert answer.body == b"own page"
    # No RST that could take the response with it.
    for _ in range(4 * MIB // 65536):
        client.send(bytes(65536))
    assert is_served(server)


def test_the_connection_of_a_body_that_was_not_read(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    # The rest has come when the application answers.
    client.send(head("/status?200", "Content-Length: 1000") + bytes(1000))
    answer = client.read_response()
    assert (answer.body, answer.header("Connection")) == (b"own page", "keep-alive")
    assert client.request("GET", "/hello").body == b"hello"
    # It has not.
    client.send(head("/status?200", "Content-Length: 1000") + b"first")
    answer = client.read_response()
    assert (answer.body, answer.header("Connection")) == (b"own page", "close")
    client.send(bytes(995))
    assert client.closed()


def test_no_room_in_the_queue(nginx):
    server = serve(nginx, APP, threads="1 queue=0", http=OFF)
    first = server.connect()
    first.send(head("/idle", "Content-Length: 10") + b"01234")
    wait_notes(server, "idle")
    second = server.connect()
    second.send(head("/tell") + b"first")
    assert second.read_response().status == 503
    touch(server, "go")
    first.send(b"56789")
    assert first.read_response().body == b"10"


def test_a_client_that_leaves_the_queue(nginx):
    server = serve(nginx, APP, threads=1, http=OFF)
    first = server.connect()
    first.send(head("/idle", "Content-Length: 10") + b"01234")
    wait_notes(server, "idle")
    second = server.connect()
    second.send(head("/tell") + b"first")
    wait_for(lambda: server.status()["writing"] == 3, "both are there")
    second.close()
    assert '" 499 ' in wait_for(server.access_lines, "the second has ended")[0]
    touch(server, "go")
    first.send(b"56789")
    assert first.read_response().body == b"10"
    assert notes(server, "begins") == []


# -- other locations


def more(where):
    return f"""
        location /inline/ {{ wsgi_threads 0; wsgi_request_buffering on; wsgi_pass inline.py; }}
        location @off {{ rewrite ^ /show break; wsgi_pass app.py; }}
        location @buffered {{ wsgi_request_buffering on; rewrite ^ /show break; wsgi_pass app.py; }}
        location /proxied/ {{ proxy_pass http://127.0.0.1:%%PORT%%/; }}
        location /files/ {{ internal; alias %%FOLDER%%/static/; }}
        {where}
        """


INLINE = {"inline.py": """
import json

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    return [json.dumps([environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH"),
                        environ["wsgi.input"].read().decode()]).encode()]
"""}


@pytest.mark.parametrize("how", ["plain", "chunked", "h2"])
@pytest.mark.parametrize("to", ["/files/file.txt", "/show", "/inline/show", "@off", "@buffered", "/ok"])
def test_x_accel_redirect_after_a_part_was_read(nginx, how, to):
    server = serve(nginx, APP, http=OFF, more=more(""), apps=INLINE, h2c=True)
    for _ in range(2):
        if how == "h2":
            client = server.h2()
            stream = client.send_request("POST", "/accel?" + to, [("content-length", "100000")], end=False)
            client.send_data(stream, b"first and more")
            client.wait(lambda: stream.complete or stream.reset is not None, "an answer")
            status, body = stream.status, bytes(stream.body)
        else:
            client = server.connect()
            client.send(head("/accel?" + to, CHUNKED if how == "chunked" else "Content-Length: 100000")
                        + (b"10000\r\n" if how == "chunked" else b"") + b"first and more")
            answer = client.read_response()
            status, body = answer.status, answer.body
        assert status == 200, server.tail()
        # The body has been begun: others get none, as with proxy_request_buffering off.
        assert body in (b"static", b"ok") or re.fullmatch(rb'\["(GET|POST)", (null|"0"), ""\]', body), body
    assert is_served(server)


@pytest.mark.parametrize("to", ["@off", "@buffered", "/inline/show", "/ok"])
def test_error_pages_after_a_part_was_read(nginx, to):
    server = serve(nginx, APP, http=OFF + f"wsgi_intercept_errors on; error_page 418 = {to};", more=more(""),
                   apps=INLINE)
    client = server.connect()
    client.send(head("/status?418", "Content-Length: 100000") + b"first and more")
    answer = client.read_response()
    assert answer.status == 200
    assert is_served(server)


def test_subrequests_find_no_body(nginx):
    server = serve(nginx, APP, http=OFF + "ssi on; ssi_types *;", more=more(""), apps=INLINE, h2c=True)
    client = server.connect()
    client.send(head("/page", "Content-Length: 20") + b"firstagain")
    answer = client.read_head()
    wait_notes(server, "first")
    time.sleep(0.1)
    client.send(b"0123456789")
    client.read_body(answer)
    show, inline, rest = answer.body.split(b"|")
    assert rest == b"again0123456789"
    assert show.endswith(b', ""]') and inline.endswith(b', ""]'), answer.body


def test_an_include_of_such_a_location(nginx):
    server = serve(nginx, APP, http=OFF + "ssi on;", more=more(
        "location = /a.html { root %%FOLDER%%/static; } "),
        apps={**INLINE, "static/a.html": '[<!--#include virtual="/show" -->]'})
    server.connect()
    assert re.fullmatch(rb'\[\["GET", (null|"0"), ""\]\]', server.get("/a.html").body)


# -- other threads


def test_another_thread_reads(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(head("/delegate", "Content-Length: 10") + b"01234")
    client.send(b"56789")
    assert client.read_response().body == b"0123456789"


def test_another_thread_reads_when_the_request_ends(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(head("/helper") + b"first")
    wait_notes(server, "helper begins")
    settled(lambda: notes(server))
    touch(server, "go")
    assert client.read_response().body == b"left"
    assert notes(server, "main") == ["main RuntimeError: wsgi.input is being read by another thread"]
    assert wait_notes(server, "helper ", 2)[1] == "helper ValueError: wsgi.input is used after its request ended"
    assert is_served(server)


# -- the event loop


def test_a_reload_while_a_body_arrives(nginx):
    server = serve(nginx, APP, http=OFF)
    client = server.connect()
    client.send(head("/digest", "Content-Length: 10") + b"01234")
    wait_for(lambda: server.status()["writing"] == 2, "the request runs")
    server.signal("HUP")
    server.wait_for_log("gracefully shutting down")
    client.send(b"56789")
    assert client.read_response().json() == expected(b"0123456789")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_slow_upload_of_64_mib(nginx, chunked):
    server = serve(nginx, APP, threads=2, http=OFF)
    assert server.post("/digest", bytes(MIB)).json() == expected(bytes(MIB))
    before, most = rss(server.worker), 0
    client = server.connect(timeout=30)
    client.send(head("/digest?65536", CHUNKED if chunked else f"Content-Length: {64 * MIB}"))
    block = bytes(256 * KIB)
    if chunked:
        block = (b"3e8\r\n" + bytes(1000) + b"\r\n") * 262 + b"90\r\n" + bytes(144) + b"\r\n"
    for number in range(256):
        client.send(block)
        if number % 8 == 0:
            time.sleep(0.01)
            most = max(most, rss(server.worker) - before)
    client.send(b"0\r\n\r\n" if chunked else b"")
    assert client.read_response().json()[0] == 64 * MIB
    assert most < 4 * MIB, most
    assert not list((server.folder / "temp_client_body").rglob("*"))


@pytest.mark.vendored_only
def test_http_3(nginx):
    server = serve(nginx, APP, http=OFF, h3=True)
    body = b"x" * 300_000
    for target in ("/digest", "/digest?1000"):
        answer = server.h3(("POST", target, [], body))
        assert (answer.status, __import__("json").loads(bytes(answer.body))) == (200, expected(body))
    assert server.h3(("POST", "/show", [("content-length", "4")], b"body")).status == 200
    assert server.h3(("POST", "/status?200", [], body)).status == 200
    answer = server.h3(("POST", "/echo?30000", [], body))
    assert bytes(answer.body) == body
