"""Many subrequests at once: they overlap, and each result is that of its question."""

import pytest

from harness.apps import touch, wait_notes
from harness.nginx import rss, wait_for
from harness.subrequests import LARGE, ask, behind, outcomes, serve

pytestmark = pytest.mark.inline_only

WAITING = """
    def at_wait(environ, start_response):
        name = environ["PATH_INFO"].split("/")[2]
        note("waiting", name)
        while not there(name):
            environ["ngx.sleep"](5)
            yield b""
        note("done", name)
        yield from answer(start_response, name.encode())
    """


def test_all_run_at_once(nginx):
    server = serve(nginx, WAITING)
    client = server.connect()
    names = ["one", "two", "three"]
    client.send_request("GET", "/ask?" + ",".join(f"/wait/{name}" for name in names))
    wait_notes(server, "waiting", 3)
    # They end in another order than they were asked for.
    for name in reversed(names):
        touch(server, name)
        wait_notes(server, f"done {name}")
    assert [part.body.decode() for part in outcomes(client.read_response())] == names


def test_a_stream_does_not_wait_for_its_turn(nginx):
    server = serve(nginx, WAITING, """
        def at_stream(environ, start_response):
            start_response("200 OK", PLAIN)
            return Body(*[b"x" * 1000] * 100, name="stream")
        """, server=LARGE)
    client = server.connect()
    client.send_request("GET", "/ask?/wait/x,/stream")
    wait_notes(server, "close stream")
    touch(server, "x")
    x, stream = outcomes(client.read_response())
    assert (x.body, stream.body) == (b"x", b"x" * 100_000)


def test_a_proxied_one_does_not_wait_for_its_turn(nginx):
    """A short answer is there although one that was asked for earlier is not."""
    ends = []

    def respond(handler, path, headers):
        if path == "/far/slow":
            wait_for(lambda: "/far/fast" in ends, "the fast one")
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        ends.append(path)

    with behind(respond) as other:
        server = serve(nginx, server=f"location /far/ {{ proxy_pass http://127.0.0.1:{other.port}; }}")
        assert [part.body for part in ask(server, "/far/slow", "/far/fast")] == [b"hello"] * 2
    assert ends == ["/far/fast", "/far/slow"]


@pytest.mark.parametrize("http", ["1.1", "2", "tls"])
def test_forty(nginx, http):
    with behind(lambda handler, path, headers: handler.wfile.write(
            b"HTTP/1.1 200 OK\r\n\r\n" + path.encode() * 3000)) as other:
        server = serve(nginx, server=LARGE + f"location /far/ {{ proxy_pass http://127.0.0.1:{other.port}; }}",
                       tls=True, h2c=True)
        uris = [f"/{'far' if n % 2 else 'part'}/{n}" for n in range(40)]
        target = "/ask?" + ",".join(uris)
        client = server.h2() if http == "2" else server.connect(tls=http == "tls")
        for _ in range(3):
            answer = client.request("GET", target)
            bodies = [part.body for part in outcomes(answer)]
            assert bodies == [f"/far/{n}".encode() * 3000 if n % 2 else b"%d" % n for n in range(40)]


def test_one_after_the_other(nginx):
    server = serve(nginx, """
        def at_counts(environ, start_response):
            found = "0"
            for number in range(100):
                [[status, headers, found]] = yield from ask(environ, f"/part/{int(found) + 1}")
            yield from answer(start_response, found.encode())
        """)
    client = server.connect()
    assert client.request("GET", "/counts").body == b"100"
    assert client.request("GET", "/counts").body == b"100"


def test_a_page_that_nginx_replaces(nginx):
    """Its parts are over when it goes on, also those that ended before their turn."""
    server = serve(nginx, WAITING)
    client = server.connect()
    client.send_request("GET", "/ask?/wait/x,/part/a,/part/b", [("If-Match", '"x"')])
    wait_notes(server, "waiting x")
    touch(server, "x")
    answer = client.read_response()
    assert answer.status == 412 and b"412 Precondition Failed" in answer.body


def test_between_blocks(nginx):
    """Blocks that were yielded before go out in their order; those that do not wait come after their part."""
    server = serve(nginx, """
        def at_blocks(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"one "
            first = environ["ngx.subrequest"]("/part/first")
            yield b"two "
            second = environ["ngx.subrequest"]("/part/second")
            yield b"three "
            yield b""
            yield first().body + b" " + second().body
            third = environ["ngx.subrequest"]("/part/third")
            yield b""
            yield b" " + third().body
        """)
    assert server.get("/blocks").body == b"one two three first second third"


def test_what_is_not_waited_for(nginx):
    server = serve(nginx, """
        def at_leaves(environ, start_response):
            for name in "abc":
                environ["ngx.subrequest"]("/part/" + name)
            return answer(start_response, b"left")
        """, WAITING, """
        def at_leaves_slow(environ, start_response):
            environ["ngx.subrequest"]("/wait/x")
            start_response("200 OK", PLAIN)
            yield b"left"
        """)
    client = server.connect()
    assert client.request("GET", "/leaves").body == b"left"
    client.send_request("GET", "/leaves_slow")
    wait_notes(server, "waiting x")
    touch(server, "x")
    assert client.read_response().body == b"left"


def test_memory_is_given_back(nginx):
    server = serve(nginx, server=LARGE + "location = /big { root %%FOLDER%%; }")
    (server.folder / "big").write_bytes(b"x" * 3_000_000)
    target = "/ask?" + ",".join(["/part/x"] * 20)

    def round():
        client = server.connect()
        for _ in range(100):
            assert client.request("GET", target).status == 200
            client.send_request("HEAD", "/ask?/big")
            client.read_response("HEAD")
        client.close()

    round()
    before = rss(server.worker)
    for _ in range(2):
        round()
    # The bodies alone were 600 MB.
    assert rss(server.worker) - before < 30_000_000
