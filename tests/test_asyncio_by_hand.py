"""The loop of nginx, run by somebody himself: run_forever(), run_until_complete()."""

import pytest

from harness.aio import serve
from harness.apps import wait_notes
from harness.nginx import wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]


def test_somebody_runs_the_loop_himself(nginx):
    """It waits then, and nginx with it; everything else of the loop goes on, before and after."""
    server = serve(nginx, """
        ticks = 0

        async def ticking():
            global ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        LOOP.create_task(ticking())

        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        async def call():
            listening = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
            writer.write(b"line\\n")
            line = await reader.read()
            await asyncio.sleep(0.05)
            writer.close()
            listening.close()
            return line

        def at_x(environ, start_response):
            before = ticks
            result = LOOP.run_until_complete(call())
            assert ticks > before
            assert LOOP.run_until_complete(asyncio.sleep(0.001, 7)) == 7
            return answer(start_response, result)

        async def nested():
            work = asyncio.sleep(0)
            try:
                LOOP.run_until_complete(work)
            finally:
                work.close()

        def at_nested(environ, start_response):
            return respond(environ, start_response, nested())

        async def on_call(environ):
            return await call()

        def at_ticks(environ, start_response):
            return answer(start_response, ticks)
        """, "location / { wsgi_pass app.py; wsgi_block_warning off; }")
    assert server.get("/call").body == b"line\n"
    assert server.get("/x").body == b"line\n"
    assert server.get("/nested").status == 500
    server.wait_for_log("raised RuntimeError: This event loop is already running")
    assert server.get("/call").body == b"line\n"
    before = server.get("/ticks").json()
    wait_for(lambda: server.get("/ticks").json() > before, "the task goes on")


def test_it_is_stopped_in_a_turn_of_nginx_before(nginx):
    server = serve(nginx, """
        async def on_stop(environ):
            LOOP.stop()
            return b"stopped"

        def at_run(environ, start_response):
            return answer(start_response, LOOP.run_until_complete(asyncio.sleep(0.001, b"run")))

        def at_stopped(environ, start_response):
            LOOP.stop()
            LOOP.run_forever()
            return answer(start_response, b"one round")
        """)
    assert server.get("/stop").body == b"stopped"
    assert server.get("/run").body == b"run"
    assert server.get("/stopped").body == b"one round"


def test_a_transport_has_the_number_of_a_closed_reader(nginx):
    server = serve(nginx, """
        async def work():
            ours, theirs = socket.socketpair()
            number = ours.fileno()
            LOOP.add_reader(number, int)
            ours.close()
            again = socket.socket(fileno=os.dup(theirs.fileno()))
            assert again.fileno() == number
            theirs.close()
            await LOOP.create_connection(asyncio.Protocol, sock=again)

        TASK = LOOP.create_task(work())

        async def on_sleep(environ):
            await asyncio.sleep(0.001)
            return TASK.done() and TASK.exception() is None

        def at_run(environ, start_response):
            return answer(start_response, LOOP.run_until_complete(asyncio.sleep(0.001, b"run")))
        """, check_fds=False)
    assert server.get("/sleep").json() is True
    assert server.get("/run").body == b"run"
    assert server.get("/sleep").json() is True


def test_it_fails_at_once(nginx):
    """A closed loop. It is nobody's again, neither nginx's nor of who ran it."""
    server = serve(nginx, """
        from ngx_wsgi.asyncio import Loop

        def at_x(environ, start_response):
            loop = Loop()
            loop.close()
            return answer(start_response, raised(loop.run_forever))

        def interrupt():
            raise KeyboardInterrupt

        def at_interrupted(environ, start_response):
            LOOP.call_soon(interrupt)
            LOOP.call_soon(note, "next")
            return answer(start_response, raised(LOOP.run_forever))

        async def on_sleep(environ):
            await asyncio.sleep(0.001)
            return b"slept"
        """)
    assert server.get("/x").json() == "RuntimeError"
    assert server.get("/interrupted").json() == "KeyboardInterrupt"
    assert server.get("/sleep").body == b"slept"
    wait_notes(server, "next")


def test_call_soon_kept_from_before(nginx):
    """As of a library that looks methods up once. What is added in this way goes on in both modes."""
    server = serve(nginx, """
        soon = LOOP.call_soon
        calls = 0

        def again():
            global calls
            calls += 1
            soon(again)

        async def work():
            future = LOOP.create_future()
            await asyncio.sleep(0.001)
            soon(future.set_result, b"called")
            return await future

        def at_x(environ, start_response):
            return answer(start_response, LOOP.run_until_complete(work()))

        def at_again(environ, start_response):
            again()
            return answer(start_response, LOOP.run_until_complete(work()))

        def at_calls(environ, start_response):
            return answer(start_response, calls)
        """)
    assert server.get("/x").body == b"called"
    assert server.get("/again").body == b"called"
    before = server.get("/calls").json()
    wait_for(lambda: server.get("/calls").json() > before, "it goes on")


def test_threads_call_soon_meanwhile(nginx):
    """Nothing is lost when the loop changes hands."""
    server = serve(nginx, """
        counted = 0

        def count():
            global counted
            counted += 1

        def add():
            for _ in range(2000):
                LOOP.call_soon_threadsafe(count)
            note("added")

        def at_x(environ, start_response):
            threads = [threading.Thread(target=add) for _ in range(3)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                LOOP.run_until_complete(asyncio.sleep(0))
            return answer(start_response, b"ok")

        def at_count(environ, start_response):
            return answer(start_response, counted)
        """, "location / { wsgi_pass app.py; wsgi_block_warning off; }")
    assert server.get("/x").body == b"ok"
    wait_for(lambda: server.get("/count").json() == 6000, "all have been called")
