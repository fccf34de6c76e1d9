"""x-wsgiorg.flush: the head now, and what was held back."""

import zlib

import pytest

from harness.apps import in_kernel, notes, settled, wait_notes
from harness.waiting import nothing_left, resume, send, serve, suspended

pytestmark = pytest.mark.inline_only

BUFFERING = "location / { wsgi_output_buffering on; wsgi_pass app.py; }"
OPTIMIZE = "location / { wsgi_optimize_send_headers on; wsgi_pass app.py; }"
APP = """
    def at_head(environ, start_response):
        start_response("200 OK", PLAIN + [("ETag", '"v1"')])
        environ["x-wsgiorg.flush"]()
        yield from waiting(environ, "a")

    def at_in_call(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.flush"]()
        resumes["a"] = environ["x-wsgiorg.suspend"]()
        note("waits")
        return Body(b"", b"body")

    def at_held(environ, start_response):
        # Small blocks, held with wsgi_output_buffering.
        start_response("200 OK", PLAIN)
        yield b"one "
        yield b"two "
        environ["x-wsgiorg.flush"]()
        yield from waiting(environ, "a")
        yield b" three"
        environ["x-wsgiorg.flush"]()
        yield from waiting(environ, "a")

    def at_often(environ, start_response):
        start_response("200 OK", PLAIN)
        for number in range(50):
            environ["x-wsgiorg.flush"]()
            environ["x-wsgiorg.flush"]()
            yield b"%02d" % number
            environ["x-wsgiorg.flush"]()

    def at_before(environ, start_response):
        try:
            environ["x-wsgiorg.flush"]()
        except RuntimeError as error:
            return answer(start_response, str(error))

    def at_committed(environ, start_response):
        # After it the head can no longer be changed.
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.flush"]()
        try:
            raise ValueError("late")
        except ValueError:
            note("again", raised(start_response, "500 Changed", PLAIN, sys.exc_info()))
        yield b"body"

    def at_fails(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.flush"]()
        raise ValueError("after the head")
        yield

    def at_list(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.flush"]()
        return [b"one ", b"two"]

    def at_file(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.flush"]()
        return environ["wsgi.file_wrapper"](open(os.path.join(HERE, "file"), "rb"))

    def at_written(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        environ["x-wsgiorg.flush"]()
        write(b"two ")
        return [b"three"]

    def at_nothing(environ, start_response):
        start_response(environ["QUERY_STRING"] + " Own", PLAIN if environ["QUERY_STRING"] == "200" else [])
        environ["x-wsgiorg.flush"]()
        return Body()

    def at_generated(environ, start_response):
        start_response("200 OK", PLAIN + [("ETag", '"v1"')])
        environ["x-wsgiorg.flush"]()
        note("after flush")
        return Body(b"", lambda: note("generated") or b"body")

    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"x" * 5_000_000
        environ["x-wsgiorg.flush"]()
        note("flushed")
        yield b"end"
    """


@pytest.mark.parametrize("target", ["/head", "/in_call"])
@pytest.mark.parametrize("where", [{}, {"tls": True}])
def test_the_head_goes_out(nginx, target, where):
    server = serve(nginx, APP, tls=True)
    with nothing_left(server):
        client = send(server, target, **where)
        head = client.read_head()
        assert head.status == 200 and notes(server, "goes on") == []
        assert resume(server, "a") is True
        client.read_body(head)
        assert head.body in (b"done a", b"body")
        client.close()


def test_over_http2(nginx):
    server = serve(nginx, APP, h2c=True)
    client = server.h2()
    stream = client.send_request("GET", "/head")
    suspended(server)
    client.wait(lambda: stream.status, "the head")
    assert resume(server, "a") is True
    client.finish(stream)
    assert stream.body == b"done a"


def test_what_was_held_goes_out(nginx):
    server = serve(nginx, APP, BUFFERING)
    client = send(server, "/held")
    head = client.read_head()
    while head.body != b"one two ":
        client.read_chunk(head)
    assert resume(server, "a") is True
    suspended(server, 2)
    while head.body != b"one two done a three":
        client.read_chunk(head)
    assert resume(server, "a") is True
    client.read_body(head)
    assert head.body == b"one two done a threedone a"


def test_through_gzip(nginx):
    """Filters that collect give away what they have."""
    server = serve(nginx, APP, """location / {
        wsgi_output_buffering on; gzip on; gzip_types *; gzip_min_length 1; wsgi_pass app.py; }""")
    client = send(server, "/held", [("Accept-Encoding", "gzip")])
    head = client.read_head()
    while zlib.decompressobj(31).decompress(head.body) != b"one two ":
        client.read_chunk(head)
    client.reset()


@pytest.mark.parametrize("config", ["location / { wsgi_pass app.py; }", BUFFERING, OPTIMIZE])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_as_often_as_one_likes(nginx, config, version):
    server = serve(nginx, APP, config)
    body = b"".join(b"%02d" % number for number in range(50))
    assert server.get("/often", version=version).body == body


def test_before_start_response(nginx):
    server = serve(nginx, APP)
    assert "start_response" in server.get("/before").json()


def test_the_head_is_out_for_good(nginx):
    server = serve(nginx, APP)
    assert server.get("/committed").body == b"body"
    assert notes(server) == ["again ValueError"]


def test_an_error_after_it(nginx):
    server = serve(nginx, APP)
    client = server.connect()
    client.send_request("GET", "/fails")
    assert client.read_head().status == 200
    assert not client.read_rest().endswith(b"0\r\n\r\n")
    server.wait_for_log("ValueError: after the head")


@pytest.mark.parametrize("config", ["location / { wsgi_pass app.py; }", BUFFERING, OPTIMIZE])
@pytest.mark.parametrize("target, body", [("/list", b"one two"), ("/written", b"one two three"), ("/file", b"file")])
def test_whatever_follows(nginx, config, target, body):
    server = serve(nginx, APP, config)
    (server.folder / "file").write_text("file")
    client = server.connect()
    for _ in range(2):
        assert client.request("GET", target).body == body
    assert server.get(target, version="1.0").body == body


@pytest.mark.parametrize("status", ["200", "204", "304"])
def test_no_body_follows(nginx, status):
    server = serve(nginx, APP)
    client = server.connect()
    for _ in range(2):
        found = client.request("GET", f"/nothing?{status}")
        assert (found.status, found.body) == (int(status), b"")
    wait_notes(server, "close", 2)


@pytest.mark.parametrize("method, headers, status", [("HEAD", (), 200), ("GET", [("If-None-Match", '"v1"')], 304)])
def test_a_body_that_nobody_gets(nginx, method, headers, status):
    """nginx decides with the head; the application is closed."""
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.request(method, "/generated", headers).status == status
        wait_notes(server, "close")
    assert notes(server, "close") == ["close body"]


def test_a_slow_client(nginx):
    """It may hold the flush back, nobody else is held up by it, and nothing is lost."""
    server = serve(nginx, APP)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    head = client.read_head()
    assert server.get("/hello").body == b"hello"
    assert settled(lambda: notes(server)) == []
    client.read_body(head)
    assert head.body == b"x" * 5_000_000 + b"end"
    assert in_kernel(client) == 0


PARTS = {"list": b"one two", "written": b"one two three", "empty": b"one two", "yields": b"one two", "wait": b"one"}


@pytest.mark.parametrize("first", PARTS)
@pytest.mark.parametrize("second", PARTS)
def test_in_parts_of_a_page(nginx, first, second):
    """The second may not send before the first has ended; then it must."""
    server = serve(nginx, APP + """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        names = environ["QUERY_STRING"].split(",")
        return [b"[" + b"|".join(b'<!--#include virtual="/%b" -->' % name.encode() for name in names) + b"]"]

    def at_empty(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.flush"]()
        yield b""
        yield b"one "
        environ["x-wsgiorg.flush"]()
        yield b""
        yield b"two"

    def at_yields(environ, start_response):
        start_response("200 OK", PLAIN)
        for block in (b"one ", b"", b"", b"two"):
            environ["x-wsgiorg.flush"]()
            yield block

    def at_wait(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.flush"]()
        yield environ["ngx.sleep"](20)
        environ["x-wsgiorg.flush"]()
        yield b"one"
    """, "location / { ssi on; send_timeout 2s; wsgi_pass app.py; }")
    assert server.get(f"/page?{first},{second}").body == b"[" + PARTS[first] + b"|" + PARTS[second] + b"]"


@pytest.mark.parametrize("http", ["1.1", "1.0", "2", "tls"])
@pytest.mark.parametrize("optimize", ["on", "off"])
def test_delayed(nginx, http, optimize):
    """What nginx holds back by limit_rate is sent once, whatever is flushed meanwhile."""
    server = serve(nginx, APP + """
    def at_numbers(environ, start_response):
        # Digits: how often to flush before each block.
        write = start_response("200 OK", PLAIN)
        for number, flushes in enumerate(environ["QUERY_STRING"]):
            for _ in range(int(flushes)):
                environ["x-wsgiorg.flush"]()
            if number == 2:
                write(b"w")
            yield b"%d" % number
            if number == 1:
                yield b""
    """, f"""location / {{ wsgi_optimize_send_headers {optimize}; limit_rate 1000; wsgi_pass app.py; }}
             location /hello {{ wsgi_pass app.py; wsgi_script_name ""; }}""", tls=True, h2c=True)
    client = server.h2() if http == "2" else None
    for digits in ("0000", "1000", "0100", "2000", "0020", "1111", "0001"):
        if client:
            body = client.request("GET", f"/numbers?{digits}").body
        else:
            body = server.get(f"/numbers?{digits}", **({"tls": True} if http == "tls" else {"version": http})).body
        assert body == b"01w23", digits
