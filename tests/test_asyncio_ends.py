"""How what runs in asyncio ends: with the client, with the time, with the worker."""

import concurrent.futures
import textwrap

import pytest

from harness import apps
from harness.aio import PRELUDE, serve
from harness.apps import notes, touch, wait_notes
from harness.http import Truncated
from harness.nginx import wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

WAITING = """
    async def hang():
        note("begun")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            note("cancelled")
            await asyncio.sleep(0.01)
            note("cleaned up")
            raise
        finally:
            note("end")

    async def hanging_blocks(start_response):
        start_response("200 OK", PLAIN)
        yield b"first"
        await hang()

    def at_coroutine(environ, start_response):
        async def page():
            await hang()
            return "200 OK", PLAIN, b""
        return respond(environ, start_response, page())

    def at_blocks(environ, start_response):
        return respond(environ, start_response, hanging_blocks(start_response))

    def at_wait(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            yield from wait(environ, hang())
        finally:
            note("closed")
        yield b"never"

    async def on_tasks(environ):
        return len(asyncio.all_tasks()) - 1
    """
FORMS = ["coroutine", "blocks", "wait"]


@pytest.mark.parametrize("form", FORMS)
def test_the_client_leaves(nginx, form):
    server = serve(nginx, WAITING)
    client = server.connect()
    client.send_request("GET", f"/{form}")
    wait_notes(server, "begun")
    client.reset()
    wait_notes(server, "end")
    assert [note for note in notes(server) if note != "closed"] == ["begun", "cancelled", "cleaned up", "end"]
    wait_for(lambda: server.get("/tasks").json() == 0, "no task is left")


@pytest.mark.parametrize("form", FORMS)
def test_the_time_is_over(nginx, form):
    server = serve(nginx, WAITING, "location / { wsgi_suspend_timeout 200ms; wsgi_pass app.py; }")
    if form == "blocks":
        with pytest.raises(Truncated):
            server.get(f"/{form}")
    else:
        assert server.get(f"/{form}").status == 504
    wait_notes(server, "end")
    server.wait_for_log("was suspended for longer than 0.2 s .wsgi_suspend_timeout.")
    wait_for(lambda: server.get("/tasks").json() == 0, "no task is left")


def test_a_future_that_others_wait_for(nginx):
    """asyncio.shield keeps it from being cancelled with one of the requests."""
    server = serve(nginx, """
        shared = LOOP.create_future()

        def at_x(environ, start_response):
            start_response("200 OK", PLAIN)
            note("waits")
            result = yield from wait(environ, asyncio.shield(shared))
            yield result

        async def on_set(environ):
            shared.set_result(b"shared")
            return b"ok"
        """)
    leaving = server.connect()
    leaving.send_request("GET", "/x")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.get, "/x")
        wait_notes(server, "waits", 2)
        leaving.reset()
        wait_for(lambda: server.status()["active"] == 2, "the client is gone")
        assert server.get("/set").body == b"ok"
        assert answer.result().body == b"shared"


def test_a_reload_waits_for_requests(nginx):
    server = serve(nginx, """
        async def on_x(environ):
            note("begun")
            await file("go")
            return b"done"
        """)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.get, "/x")
        wait_notes(server, "begun")
        server.hup(wait_old=False)
        touch(server, "go")
        assert answer.result().body == b"done"


ENDING = """
    import atexit

    atexit.register(note, "atexit")

    async def forever(name):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            note("end of", name)

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            note("end of generator")

    async def main():
        global kept
        kept = numbers()
        await kept.__anext__()
        background = [asyncio.create_task(forever(name)) for name in "ab"]
        await LOOP.run_in_executor(None, note, "executor")
        note("ready")
        await asyncio.gather(*background)

    MAIN = LOOP.create_task(main())
    """


@pytest.mark.parametrize("name", ["QUIT", "TERM"])
def test_the_worker_ends(nginx, name):
    """Tasks are cancelled and end, then asynchronous generators; then come the functions of atexit."""
    server = serve(nginx, ENDING)
    wait_notes(server, "ready")
    server.stop(name)
    begin, tasks, rest = notes(server)[:2], notes(server)[2:4], notes(server)[4:]
    assert (begin, sorted(tasks)) == (["executor", "ready"], ["end of a", "end of b"])
    assert rest == ["end of generator", "atexit"]


def test_a_reload_ends_the_tasks_of_the_old_worker(nginx):
    server = serve(nginx, ENDING)
    wait_notes(server, "ready")
    server.hup()
    assert {"end of a", "end of b", "end of generator", "atexit"} <= set(notes(server))
    wait_notes(server, "ready", 2)


def test_a_clean_up_that_stops_the_loop(nginx):
    """Twisted's reactor does, for one."""
    server = serve(nginx, """
        async def stopping():
            try:
                await asyncio.Event().wait()
            finally:
                LOOP.stop()
                note("stopped")

        async def slow():
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)
                note("slow")

        async def exiting():
            try:
                await asyncio.Event().wait()
            finally:
                raise SystemExit("planned")

        TASKS = [LOOP.create_task(work()) for work in (stopping, slow, exiting)]

        async def on_x(environ):
            return b"up"
        """)
    assert server.get("/x").body == b"up"
    server.stop()
    assert notes(server) == ["stopped", "slow"]


@pytest.mark.parametrize("name", ["QUIT", "TERM"])
def test_a_clean_up_is_not_cancelled_twice(nginx, name):
    """A request that is cut at the end of a worker has begun to clean up when the other tasks are cancelled."""
    server = serve(nginx, """
        async def page():
            note("begun")
            try:
                await asyncio.sleep(3600)
            finally:
                try:
                    await asyncio.create_task(asyncio.sleep(0.05))
                    note("cleaned up")
                except BaseException as error:
                    note("cut", repr(error))

        def at_x(environ, start_response):
            return respond(environ, start_response, page())
        """, main="worker_shutdown_timeout 100ms;", check_connections=False, check_fds=False)
    client = server.connect()
    client.send_request("GET", "/x")
    wait_notes(server, "begun")
    # Otherwise stop() would close it.
    server.clients.remove(client)
    server.stop(name)
    client.close()
    assert notes(server) == ["begun", "cleaned up"]


def test_a_task_that_misses_its_first_cancellation(nginx):
    server = serve(nginx, """
        async def deaf():
            for _ in range(2):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)
            note("heard")

        TASK = LOOP.create_task(deaf())

        async def on_x(environ):
            return b"up"
        """)
    assert server.get("/x").body == b"up"
    server.stop()
    assert notes(server) == ["heard"]
    assert not server.log_lines("did not end")


def test_what_does_not_end(nginx):
    """It does not keep the worker for ever, nor from its exit functions."""
    server = serve(nginx, """
        import atexit

        atexit.register(note, "atexit")

        async def stubborn():
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)

        async def on_begin(environ):
            global task
            task = LOOP.create_task(stubborn())
            LOOP.run_in_executor(None, time.sleep, 3600)
            return b"begun"
        """)
    assert server.get("/begin").body == b"begun"
    server.stop(timeout=20)
    assert notes(server) == ["atexit"]
    assert server.log_lines("tasks did not end in time.*stubborn")
    assert server.log_lines("threads of the default executor did not end in time")


def test_what_does_not_end_in_several_interpreters(nginx):
    """They share the time, so that the exit functions of all of them run."""
    text = """
        import atexit

        atexit.register(note, "atexit")

        async def stubborn():
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)

        TASK = LOOP.create_task(stubborn())

        def application(environ, start_response):
            return answer(start_response, b"up")
        """
    names = [f"app{n}" for n in range(4)]
    server = nginx(
        "".join(f"location /{name} {{ wsgi_pass {name}.py; }}" for name in names),
        http="wsgi_enable_subinterpreters on;",
        apps={f"{name}.py": apps.PRELUDE + PRELUDE + textwrap.dedent(text) for name in names},
        check_fds=False,
    )
    for name in names:
        assert server.get(f"/{name}").body == b"up"
    server.stop(timeout=20)
    assert notes(server) == ["atexit"] * len(names)
