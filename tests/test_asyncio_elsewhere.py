"""asyncio where nginx's loop is not: in threads, in preflight; and several loops, in sub-interpreters."""

import pytest

from harness.aio import serve
from harness.apps import PRELUDE, notes, wait_notes

APP = PRELUDE + """
import asyncio
import ngx_wsgi.asyncio


async def work():
    await asyncio.sleep(0.001)
    return b"by asyncio.run"


def at_errors(environ, start_response):
    found = []
    for attempt in (ngx_wsgi.asyncio.get_loop, lambda: ngx_wsgi.asyncio.respond(environ, start_response, None),
                    lambda: next(ngx_wsgi.asyncio.wait(environ, None))):
        try:
            attempt()
        except RuntimeError as error:
            found.append(str(error))
    return answer(start_response, found)


def at_run(environ, start_response):
    return answer(start_response, asyncio.run(work()))
"""


def test_in_threads(nginx):
    server = nginx("location / { wsgi_pass app.py; wsgi_threads 2; }", apps={"app.py": APP})
    errors = server.get("/errors").json()
    assert len(errors) == 3 and all("asyncio.run()" in text and "wsgi_threads" in text for text in errors)
    assert server.get("/run").body == b"by asyncio.run"


@pytest.mark.inline_only
def test_threads_beside_the_loop(nginx):
    """A thread of an application may give work to the loop that an inline application has made."""
    server = nginx("""
        location / { wsgi_pass app.py; }
        location /thread { wsgi_pass app.py; wsgi_script_name ""; wsgi_threads 2; }
        """, apps={"app.py": APP + """
loop = None

def at_inline(environ, start_response):
    global loop
    loop = ngx_wsgi.asyncio.get_loop()
    start_response("200 OK", PLAIN)
    yield (yield from ngx_wsgi.asyncio.wait(environ, asyncio.sleep(0.001, b"inline")))

def at_thread(environ, start_response):
    return answer(start_response, asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, b"thread"), loop).result(10))
"""}, check_fds=False)
    assert server.get("/inline").body == b"inline"
    assert server.get("/thread").body == b"thread"
    assert server.get("/inline").body == b"inline"


@pytest.mark.inline_only
def test_preflight(nginx):
    """The module can be imported; the loop cannot be made, since nothing is served."""
    server = nginx("location / { wsgi_pass app.py; }", http="wsgi_preflight on;", apps={"app.py": PRELUDE + """
from ngx_wsgi.asyncio import get_loop, respond

try:
    get_loop()
    note("made")
except RuntimeError as error:
    note(error)

async def page():
    return "200 OK", PLAIN, b"served"

def application(environ, start_response):
    return respond(environ, start_response, page())
"""})
    assert server.get("/").body == b"served"
    first, second = notes(server)[:2]
    assert "only nginx's own thread in a worker" in first and second == "made"


@pytest.mark.inline_only
def test_a_loop_for_each_sub_interpreter(nginx):
    text = """
        async def on_x(environ):
            process = await asyncio.create_subprocess_shell("exit 3")
            reader, writer = await asyncio.open_connection("127.0.0.1", int(environ["SERVER_PORT"]))
            writer.write(b"GET /x/static HTTP/1.0\\r\\n\\r\\n")
            static = (await reader.read()).decode().split()[-1]
            writer.close()
            note("end", id(LOOP), await asyncio.to_thread(threading.get_ident) != threading.get_ident())
            return [await process.wait(), static, get_loop() is LOOP]
        """
    server = serve(nginx, text, """
        location /one/ { wsgi_pass one.py; }
        location /two/ { wsgi_pass two.py; }
        location /x/static { return 200 static; }
        """, http="wsgi_enable_subinterpreters on;", apps={
            "one.py": "", "two.py": ""}, start=False)
    for name in ("one", "two"):
        (server.folder / f"{name}.py").write_text((server.folder / "app.py").read_text())
    server.start()
    for name in ("one", "two") * 5:
        answer = server.get(f"/{name}/x")
        assert answer.status == 200 and answer.json() == [3, "static", True], server.tail()
    lines = wait_notes(server, "end", 10)
    assert len({line.split()[1] for line in lines}) == 2 and all(line.endswith("True") for line in lines)


@pytest.mark.inline_only
def test_the_single_process(nginx):
    server = serve(nginx, """
        async def on_x(environ):
            await asyncio.sleep(0.001)
            return b"alone"
        """, master=False)
    assert server.get("/x").body == b"alone"


@pytest.mark.inline_only
def test_the_loop_of_who_asks_outside_of_it(nginx):
    """With Python 3.9, locks and queues made there belong to that one."""
    server = serve(nginx, """
        lock = asyncio.Lock()

        def at_x(environ, start_response):
            return answer(start_response, asyncio.get_event_loop() is LOOP)

        async def on_lock(environ):
            async def other():
                async with lock:
                    return b"locked"
            async with lock:
                task = asyncio.ensure_future(other())
                await asyncio.sleep(0.001)
            return await task
        """)
    assert server.get("/x").json() is True
    assert server.get("/lock").body == b"locked"


def test_tasks_are_not_part_of_a_request_that_runs_the_loop(nginx):
    server = serve(nginx, """
        async def look(environ):
            return raised(environ["ngx.sleep"], 1)

        def at_run(environ, start_response):
            found = LOOP.run_until_complete(look(environ))
            start_response("200 OK", PLAIN)
            yield b""
            yield str(found).encode()
        """)
    assert server.get("/run").body == b"RuntimeError"
