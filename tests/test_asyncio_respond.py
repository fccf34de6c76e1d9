"""ngx_wsgi.asyncio.respond: what a coroutine and an asynchronous generator may give."""

import pytest

from harness.aio import serve
from harness.apps import in_kernel, settled, touch, wait_notes
from harness.http import Truncated

pytestmark = [pytest.mark.inline_only, pytest.mark.once]


@pytest.mark.parametrize("body", [
    'b"abc"', '[b"a", b"", b"bc"]', 'iter([b"ab", b"c"])', 'Body(b"abc")', 'blocks(b"a", b"b", b"c")', 'Blocks()'])
@pytest.mark.parametrize("form", ["tuple", "call"])
def test_bodies(nginx, body, form):
    server = serve(nginx, f"""
        async def blocks(*items):
            for item in items:
                await asyncio.sleep(0)
                yield item

        class Blocks:
            def __aiter__(self):
                return blocks(b"ab", b"c")

        async def by_tuple():
            await asyncio.sleep(0.001)
            return "201 Created", [("X-Form", "tuple")], {body}

        async def by_call(start_response):
            await asyncio.sleep(0.001)
            start_response("201 Created", [("X-Form", "call")])
            return {body}

        def at_x(environ, start_response):
            return respond(environ, start_response, {"by_tuple()" if form == "tuple" else "by_call(start_response)"})
        """)
    answer = server.get("/x")
    assert (answer.status, answer.header("X-Form"), answer.body) == (201, form, b"abc")


def test_an_asynchronous_generator(nginx):
    """All of it is one task: a timeout may span blocks."""
    server = serve(nginx, """
        async def blocks(start_response):
            start_response("200 OK", PLAIN)
            task = asyncio.current_task()
            for n in range(3):
                await asyncio.sleep(0.001)
                yield b"%d" % n
                assert asyncio.current_task() is task
            note("finished")

        def at_x(environ, start_response):
            return respond(environ, start_response, blocks(start_response))
        """)
    assert server.get("/x").body == b"012"
    wait_notes(server, "finished")


def test_blocks_arrive_when_they_are_made(nginx):
    server = serve(nginx, """
        async def blocks(start_response):
            start_response("200 OK", PLAIN)
            yield b"first"
            await file("go")
            yield b"second"

        def at_x(environ, start_response):
            return respond(environ, start_response, blocks(start_response))
        """)
    client = server.connect()
    client.send_request("GET", "/x")
    answer = client.read_head()
    assert client.read_chunk(answer) == b"first"
    touch(server, "go")
    assert client.read_chunk(answer) == b"second"


def test_a_slow_client_slows_the_generator(nginx):
    server = serve(nginx, """
        made = 0

        async def blocks(start_response):
            global made
            start_response("200 OK", PLAIN)
            while made < 1000:
                yield b"x" * 65536
                made += 1

        def at_x(environ, start_response):
            return respond(environ, start_response, blocks(start_response))

        async def on_made(environ):
            return made
        """)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/x")
    settled(lambda: in_kernel(client))
    assert 0 < settled(lambda: server.get("/made").json()) < 500
    client.reset()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_head(nginx, method):
    server = serve(nginx, """
        async def on_x(environ):
            await asyncio.sleep(0)
            return b"body"
        """)
    answer = server.request(method, "/x")
    assert (answer.status, answer.body) == (200, b"body" if method == "GET" else b"")


@pytest.mark.parametrize("value, kind, words", [
    ("1 / 0", "ZeroDivisionError", "division by zero"),
    ("None", "TypeError", "the coroutine returned NoneType; bytes, an iterable of bytes or .status, headers, body."),
    ('("200 OK", PLAIN)', "ValueError", "not enough values"),
    ('("200 OK", PLAIN, "text")', "str, not bytes", ""),
    ("exec('raise asyncio.CancelledError')", "CancelledError", ""),
    ("exec('raise SystemExit(3)')", "SystemExit", "3"),
])
def test_errors_before_the_head(nginx, value, kind, words):
    server = serve(nginx, f"""
        async def page():
            await asyncio.sleep(0)
            return {value}

        def at_x(environ, start_response):
            return respond(environ, start_response, page())

        async def on_alive(environ):
            return b"alive"
        """)
    assert server.get("/x").status == 500
    server.wait_for_log(rf'application "[^"]*app.py" .*{kind}.*{words}')
    assert server.get("/alive").body == b"alive"


def test_an_error_after_the_first_block(nginx):
    server = serve(nginx, """
        async def blocks(start_response):
            start_response("200 OK", PLAIN)
            yield b"first"
            raise RuntimeError("planned")

        def at_x(environ, start_response):
            return respond(environ, start_response, blocks(start_response))
        """)
    with pytest.raises(Truncated) as caught:
        server.get("/x")
    assert caught.value.response.body == b"first"
    server.wait_for_log("raised RuntimeError: planned")


def test_the_body_is_closed(nginx):
    server = serve(nginx, """
        async def page():
            return "200 OK", PLAIN, Body(b"1", b"2")

        def at_x(environ, start_response):
            return respond(environ, start_response, page())
        """)
    assert server.get("/x").body == b"12"
    assert wait_notes(server, "close") == ["close body"]


def test_the_request_body(nginx):
    server = serve(nginx, """
        async def on_x(environ):
            await asyncio.sleep(0.001)
            return environ["wsgi.input"].read()
        """)
    assert server.post("/x", b"y" * 100_000).body == b"y" * 100_000
