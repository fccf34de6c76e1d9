"""ngx_wsgi.asyncio.wait: a generator that waits for something of asyncio, while nginx goes on."""

import concurrent.futures
import time

import pytest

from harness.aio import serve
from harness.apps import touch, wait_notes

pytestmark = [pytest.mark.inline_only, pytest.mark.once]


def test_results_and_exceptions(nginx):
    server = serve(nginx, """
        async def add(a, b):
            await asyncio.sleep(0.001)
            return a + b

        async def fail():
            await asyncio.sleep(0.001)
            raise LookupError("planned")

        def at_x(environ, start_response):
            total = 0
            for n in range(5):
                total = yield from wait(environ, add(total, n))
            try:
                yield from wait(environ, fail())
            except LookupError as error:
                caught = str(error)
            start_response("200 OK", PLAIN)
            yield f"{total} {caught}".encode()
        """)
    assert server.get("/x").body == b"10 planned"


def test_what_can_be_waited_for(nginx):
    server = serve(nginx, """
        async def coroutine():
            return "coroutine"

        class Awaitable:
            def __await__(self):
                yield from asyncio.sleep(0.001).__await__()
                return "awaitable"

        def at_x(environ, start_response):
            start_response("200 OK", PLAIN)
            future = LOOP.create_future()
            LOOP.call_later(0.01, future.set_result, "future")
            done = LOOP.create_future()
            done.set_result("done")
            for thing in (coroutine(), Awaitable(), future, LOOP.create_task(coroutine()), done):
                result = yield from wait(environ, thing)
                yield result.encode() + b" "
            try:
                yield from wait(environ, 7)
            except TypeError:
                yield b"refused"
        """)
    assert server.get("/x").body == b"coroutine awaitable future coroutine done refused"


def test_blocks_and_waits_alternate(nginx):
    server = serve(nginx, """
        def at_x(environ, start_response):
            start_response("200 OK", PLAIN)
            for n in range(3):
                yield b"%d" % n
                yield from wait(environ, file(f"go{n}"))
        """)
    client = server.connect()
    client.send_request("GET", "/x")
    answer = client.read_head()
    for n in range(3):
        assert client.read_chunk(answer) == b"%d" % n
        touch(server, f"go{n}")
    assert client.read_chunk(answer) == b""


def test_under_the_validator(nginx):
    server = serve(nginx, """
        from wsgiref.validate import validator

        def page(environ, start_response):
            start_response("200 OK", PLAIN)
            yield from wait(environ, asyncio.sleep(0.001))
            yield b"valid"

        at_x = validator(page)
        """)
    assert server.get("/x").body == b"valid", server.tail()


def test_requests_overlap(nginx):
    """All wait at once in one thread, and nginx serves others meanwhile."""
    server = serve(nginx, """
        inside = 0

        async def on_x(environ):
            global inside
            inside += 1
            note("inside")
            await file("go")
            return inside
        """)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(server.get, "/x") for _ in range(20)]
        wait_notes(server, "inside", 20)
        assert server.status()["active"] >= 20
        touch(server, "go")
        assert [answer.result().json() for answer in answers] == [20] * 20


def test_each_task_sees_the_context_of_its_request(nginx):
    server = serve(nginx, """
        var = contextvars.ContextVar("var")

        async def look():
            seen = var.get()
            await file("go")
            return seen + var.get()

        def at_x(environ, start_response):
            start_response("200 OK", PLAIN)
            var.set(environ["QUERY_STRING"])
            note("set")
            result = yield from wait(environ, look())
            yield result.encode()
        """)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(server.get, f"/x?{n}") for n in range(5)]
        wait_notes(server, "set", 5)
        touch(server, "go")
        assert [answer.result().body for answer in answers] == [b"%d%d" % (n, n) for n in range(5)]


def test_a_resumption_by_something_else(nginx):
    """Somebody else's resume() ends the suspension; wait() asks for another one."""
    server = serve(nginx, """
        def at_x(environ, start_response):
            start_response("200 OK", PLAIN)
            LOOP.call_later(0.01, environ["wsgi.pause_output"]())
            result = yield from wait(environ, asyncio.sleep(0.1, "all of it"))
            yield result.encode()
        """)
    since = time.monotonic()
    assert server.get("/x").body == b"all of it"
    assert time.monotonic() - since >= 0.1


def test_tasks_that_talk_to_each_other(nginx):
    """One request waits for what another one brings."""
    server = serve(nginx, """
        queue = asyncio.Queue() if sys.version_info >= (3, 10) else None

        async def on_get(environ):
            note("waits")
            return await queue.get()

        async def on_put(environ):
            await queue.put(environ["QUERY_STRING"])
            return b"ok"

        if queue is None:
            async def make():
                global queue
                queue = asyncio.Queue()
            LOOP.create_task(make())
        """)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.get, "/get")
        wait_notes(server, "waits")
        assert server.get("/put?hello").body == b"ok"
        assert answer.result().json() == "hello"


def test_http2(nginx):
    """Several requests of one connection wait at once."""
    server = serve(nginx, """
        async def on_x(environ):
            note("inside")
            await file("go")
            return environ["QUERY_STRING"]
        """, h2c=True)
    client = server.h2(hold=False)
    streams = [client.send_request("GET", f"/x?{n}") for n in range(5)]
    wait_notes(server, "inside", 5)
    touch(server, "go")
    assert [stream.json() for stream in client.finish(*streams)] == [str(n) for n in range(5)]


@pytest.mark.parametrize("how", [
    "b''.join(page(environ, start_response))", "*filter(None, page(environ, start_response))"])
def test_middleware_that_keeps_the_empty_item(nginx, how):
    """Nothing could be waited for, ever: it is told instead of asked again and again."""
    server = serve(nginx, f"""
        def page(environ, start_response):
            start_response("200 OK", PLAIN)
            yield from wait(environ, file("never"))

        def at_x(environ, start_response):
            return [{how}]

        async def on_y(environ):
            await asyncio.sleep(0.001)
            return len(asyncio.all_tasks())
        """)
    assert server.get("/x").status == 500
    server.wait_for_log("raised RuntimeError: the application cannot wait: .* middleware")
    assert server.get("/y").json() == 1
