"""What the client has while the application is suspended, and what may follow."""

import gzip
import zlib

import pytest

from harness.apps import in_kernel, notes, settled, wait_notes
from harness.http import Truncated
from harness.waiting import nothing_left, resume, send, serve

pytestmark = pytest.mark.inline_only

APP = """
    def at_call(environ, start_response):
        # Asked for in the call itself, before there is an iterator.
        resumes["a"] = environ["x-wsgiorg.suspend"]()
        start_response("200 OK", PLAIN)
        note("waits")
        return Body(b"before ", b"", b"after")

    def at_first(environ, start_response):
        # Not even start_response has been called.
        yield from waiting_silently(environ)
        start_response("404 Not Here", PLAIN + [("X-Waited", "yes")])
        yield b"found nothing"

    def waiting_silently(environ):
        resumes["a"] = environ["x-wsgiorg.suspend"]()
        note("waits")
        yield b""

    def at_again(environ, start_response):
        start_response("200 OK", PLAIN)
        yield from waiting_silently(environ)
        try:
            raise ValueError("late")
        except ValueError:
            start_response("500 Changed", PLAIN, sys.exc_info())
        yield b"changed"

    def at_last(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"all"
        yield from waiting_silently(environ)

    def at_never(environ, start_response):
        yield from waiting_silently(environ)

    def at_nothing(environ, start_response):
        start_response(environ["QUERY_STRING"] + " Nothing", [])
        yield from waiting_silently(environ)

    def at_fails(environ, start_response):
        start_response("200 OK", PLAIN)
        if environ["QUERY_STRING"]:
            yield b"part"
        yield from waiting_silently(environ)
        raise ValueError("after the suspension")

    def at_length(environ, start_response):
        start_response("200 OK", PLAIN + [("Content-Length", "10")])
        yield b"12345"
        yield from waiting_silently(environ)
        yield b"67890"

    def at_written(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        def blocks():
            write(b"two ")
            yield from waiting_silently(environ)
            write(b"three ")
            yield b"four"
        return blocks()

    def at_file(environ, start_response):
        start_response("200 OK", PLAIN)
        file = environ["wsgi.file_wrapper"](open(os.path.join(HERE, "file"), "rb"))
        try:
            yield from waiting_silently(environ)
            yield from file
        finally:
            file.close()

    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"x" * 3_000_000
        yield from waiting_silently(environ)
        yield b"y" * 3_000_000

    def at_redirect(environ, start_response):
        yield from waiting_silently(environ)
        start_response("200 OK", PLAIN + [("X-Accel-Redirect", "/hello")])
        yield b"not this"
    """


def silent(client):
    """Nothing has come to the client, and nothing is under way."""
    assert settled(lambda: in_kernel(client)) == 0 and client.buffer == b""


def test_blocks_before_the_empty_item_are_sent(nginx):
    server = serve(nginx)
    client = send(server, "/began?a")
    head = client.read_head()
    assert client.read_chunk(head) == b"first "
    assert notes(server) == ["waits a"]
    resume(server, "a")
    client.read_body(head)
    assert head.body == b"first done a"


def test_the_head_waits_for_the_first_block(nginx):
    server = serve(nginx)
    client = send(server, "/wait?a")
    silent(client)
    resume(server, "a")
    assert client.read_response().body == b"done a"


def test_asked_for_in_the_call(nginx):
    server = serve(nginx, APP)
    client = send(server, "/call")
    head = client.read_head()
    assert client.read_chunk(head) == b"before "
    assert resume(server, "a") is True
    client.read_body(head)
    assert head.body == b"before after"
    wait_notes(server, "close")


def test_the_status_is_chosen_afterwards(nginx):
    server = serve(nginx, APP)
    client = send(server, "/first")
    silent(client)
    resume(server, "a")
    found = client.read_response()
    assert (found.status, found.reason, found.header("X-Waited"), found.body) == (
        404, "Not Here", "yes", b"found nothing")


def test_and_may_be_changed(nginx):
    server = serve(nginx, APP)
    client = send(server, "/again")
    resume(server, "a")
    found = client.read_response()
    assert (found.status, found.body) == (500, b"changed")


def test_the_end_follows_the_suspension(nginx):
    server = serve(nginx, APP)
    client = send(server, "/last")
    resume(server, "a")
    assert client.read_response().body == b"all"


def test_the_end_without_start_response_is_an_error(nginx):
    server = serve(nginx, APP)
    client = send(server, "/never")
    resume(server, "a")
    assert client.read_response().status == 500


@pytest.mark.parametrize("status", [200, 204, 304])
def test_no_body_at_all(nginx, status):
    server = serve(nginx, APP)
    client = send(server, f"/nothing?{status}")
    resume(server, "a")
    found = client.read_response()
    assert (found.status, found.body) == (status, b"")


def test_an_error_after_it(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/fails")
        resume(server, "a")
        assert client.read_response().status == 500
        client.close()
        client = send(server, "/fails?begun")
        resume(server, "a")
        with pytest.raises(Truncated) as caught:
            client.read_response()
        assert caught.value.response.body == b"part"
    assert len(server.log_lines("raised ValueError: after the suspension")) == 2


def test_content_length(nginx):
    server = serve(nginx, APP)
    client = send(server, "/length")
    head = client.read_head()
    assert client.read_exactly(5) == b"12345"
    resume(server, "a")
    assert (client.read_exactly(5), head.header("Content-Length")) == (b"67890", "10")


def test_write_before_between_and_after(nginx):
    server = serve(nginx, APP)
    client = send(server, "/written")
    head = client.read_head()
    while head.body != b"one two ":
        client.read_chunk(head)
    resume(server, "a")
    client.read_body(head)
    assert head.body == b"one two three four"


def test_a_file_after_it(nginx):
    server = serve(nginx, APP)
    (server.folder / "file").write_bytes(b"f" * 100_000)
    with nothing_left(server):
        client = send(server, "/file")
        resume(server, "a")
        assert client.read_response().body == b"f" * 100_000
        client.close()


def test_large_blocks_on_both_sides(nginx):
    """The suspension begins when the client has taken what comes before it."""
    server = serve(nginx, APP)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    head = client.read_head()
    assert settled(lambda: notes(server)) == []
    while len(head.body) < 3_000_000:
        client.read_chunk(head)
    wait_notes(server, "waits")
    assert resume(server, "a") is True
    client.read_body(head)
    assert head.body == b"x" * 3_000_000 + b"y" * 3_000_000


def test_an_internal_redirect_after_it(nginx):
    server = serve(nginx, APP)
    client = send(server, "/redirect")
    assert resume(server, "a") is True
    assert client.read_response().body == b"hello"


def test_compressed(nginx):
    """The flush with each block reaches the client through gzip."""
    server = serve(nginx, server="location / { gzip on; gzip_types *; gzip_min_length 1; wsgi_pass app.py; }")
    client = send(server, "/began?a", [("Accept-Encoding", "gzip")])
    head = client.read_head()
    while zlib.decompressobj(31).decompress(head.body) != b"first ":
        assert client.read_chunk(head)
    resume(server, "a")
    client.read_body(head)
    assert gzip.decompress(head.body) == b"first done a"


@pytest.mark.parametrize("target", ["/wait?a", "/began?a"])
def test_limit_rate(nginx, target):
    server = serve(nginx, server="location / { limit_rate 100k; wsgi_pass app.py; }")
    client = send(server, target)
    resume(server, "a")
    assert client.read_response().body.endswith(b"done a")


def test_head_without_the_directive(nginx):
    """Only the first block, or the end, shows what the head is."""
    server = serve(nginx)
    client = server.connect()
    client.send_request("HEAD", "/wait?a")
    wait_notes(server, "waits")
    assert resume(server, "a") is True
    assert client.read_response("HEAD").status == 200
    wait_notes(server, "finally")


def test_head_ends_with_the_first_block(nginx):
    """What comes after it is not asked for: no suspension."""
    server = serve(nginx)
    with nothing_left(server):
        assert server.request("HEAD", "/began?a").status == 200
        assert settled(lambda: notes(server, "waits")) == []
