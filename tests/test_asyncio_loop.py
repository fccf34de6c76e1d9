"""The loop that nginx drives: it sleeps without a cost, is woken by everything, and lets nginx's other work go first."""

import time

import pytest

from harness.aio import serve
from harness.apps import notes, touch, wait_notes
from harness.nginx import cpu, wait_for

pytestmark = [pytest.mark.inline_only, pytest.mark.once]


@pytest.mark.parametrize("how", [
    "LOOP.call_soon(note, 'called')",
    "LOOP.call_later(0.02, note, 'called')",
    "LOOP.call_at(LOOP.time() + 0.02, note, 'called')",
    "LOOP.call_later(-1, note, 'called')",
    "LOOP.create_task(called())",
    "asyncio.ensure_future(called(), loop=LOOP)",
    "LOOP.call_soon_threadsafe(note, 'called')",
    "LOOP.run_in_executor(None, note, 'called')",
    "threading.Thread(target=LOOP.call_soon_threadsafe, args=(note, 'called')).start()",
    "threading.Timer(0.05, LOOP.call_soon_threadsafe, args=(note, 'called')).start()",
    "threading.Thread(target=lambda: asyncio.run_coroutine_threadsafe(called(), LOOP).result()).start()",
    # Later than a timer that is there already, and sooner.
    "LOOP.call_later(3600, note, 'too late'); LOOP.call_later(0.02, note, 'called')",
    "LOOP.call_later(0.01, int); LOOP.call_later(0.03, note, 'called')",
    "LOOP.call_later(0.01, int).cancel(); LOOP.call_later(0.03, note, 'called')",
    # By a callback of the last iteration before the loop sleeps.
    "LOOP.call_later(0.001, LOOP.call_later, 0.001, LOOP.call_soon, note, 'called')",
])
@pytest.mark.parametrize("when", ["import", "request"])
def test_whatever_is_added_wakes_the_loop(nginx, how, when):
    server = serve(nginx, f"""
        async def called():
            note("called")

        def at_add(environ, start_response):
            assert not LOOP.is_running()
            {how if when == "request" else "pass"}
            return answer(start_response, b"added")

        {how if when == "import" else "pass"}
        """)
    assert server.get("/add").body == b"added"
    wait_notes(server, "called")
    assert notes(server) == ["called"]


def test_timers_are_in_order_and_not_early(nginx):
    server = serve(nginx, """
        async def on_x(environ):
            since = LOOP.time()
            order = []
            async def sleep(seconds):
                await asyncio.sleep(seconds)
                order.append((seconds, LOOP.time() - since))
            await asyncio.gather(*map(sleep, (0.05, 0.01, 0.0301, 0.03, 0.0004, 0)))
            return order
        """)
    order = server.get("/x").json()
    assert [wanted for wanted, _ in order] == [0, 0.0004, 0.01, 0.03, 0.0301, 0.05]
    assert all(real >= wanted for wanted, real in order)


def test_an_idle_loop_costs_nothing(nginx):
    """With a task that waits, a socket that is watched, and a timer that is far away."""
    server = serve(nginx, """
        ours, theirs = socket.socketpair()

        async def waiting():
            LOOP.add_reader(ours, int)
            await asyncio.wait_for(asyncio.Event().wait(), 3600)

        async def on_begin(environ):
            global task
            task = LOOP.create_task(waiting())
            return b"ok"
        """, check_fds=False)
    assert server.get("/begin").body == b"ok"
    before = cpu(server.worker)
    time.sleep(1)
    assert cpu(server.worker) - before <= 0.03


def test_a_busy_loop_lets_nginx_work(nginx):
    """A task that never waits for anything, and callbacks that call themselves."""
    server = serve(nginx, """
        turns = 0

        async def busy():
            global turns
            while not there("stop"):
                turns += 1
                await asyncio.sleep(0)

        def again():
            if not there("stop"):
                LOOP.call_soon(again)

        async def on_busy(environ):
            LOOP.create_task(busy())
            LOOP.call_soon(again)
            return b"ok"

        async def on_turns(environ):
            await asyncio.sleep(0.01)
            return turns
        """, "location / { wsgi_pass app.py; } location /static { return 200 static; }")
    assert server.get("/busy").body == b"ok"
    seen = -1
    for _ in range(20):
        assert server.get("/static").body == b"static"
        turns = server.get("/turns").json()
        assert turns > seen
        seen = turns
    touch(server, "stop")


def test_a_callback_that_fails(nginx):
    server = serve(nginx, """
        def fail(kind):
            raise kind("planned")

        async def on_fail(environ):
            LOOP.call_soon(fail, RuntimeError)
            LOOP.call_soon(fail, SystemExit)
            LOOP.call_soon(note, "next")
            return b"ok"
        """)
    assert server.get("/fail").body == b"ok"
    wait_notes(server, "next")
    server.wait_for_log("RuntimeError: planned")
    server.wait_for_log("SystemExit: planned")
    assert server.get("/fail").body == b"ok"


def test_a_task_that_nobody_asks(nginx):
    """asyncio's logger reaches the error log without being configured."""
    server = serve(nginx, """
        async def fail():
            raise RuntimeError("planned")

        async def on_fail(environ):
            LOOP.create_task(fail())
            return b"ok"
        """)
    assert server.get("/fail").body == b"ok"
    server.wait_for_log("Task exception was never retrieved")
    server.wait_for_log("RuntimeError: planned")


def test_what_was_called_soon_comes_before_a_timer_set_later(nginx):
    server = serve(nginx, """
        async def on_x(environ):
            order = []

            def first():
                LOOP.call_soon(order.append, "soon")
                LOOP.call_later(0, order.append, "later")

            LOOP.call_later(0.001, first)
            while len(order) < 2:
                await asyncio.sleep(0.001)
            return order
        """)
    assert server.get("/x").json() == ["soon", "later"]


def test_a_callback_that_fails_is_named(nginx):
    """It may be C, without a traceback."""
    server = serve(nginx, """
        async def on_x(environ):
            LOOP.call_soon(int, "x")
            return b"ok"
        """)
    assert server.get("/x").body == b"ok"
    server.wait_for_log("Exception in callback <class 'int'>")
    server.wait_for_log("ValueError: invalid literal")


def test_cancelled_timers_are_thrown_away(nginx):
    """Long before their time, and with what they lead to; here they are the only thing that asyncio itself would do."""
    server = serve(nginx, """
        import gc
        import weakref

        class Thing:
            pass

        things = weakref.WeakSet()
        variable = contextvars.ContextVar("variable")

        async def on_x(environ):
            thing = Thing()
            things.add(thing)
            variable.set(thing)
            event = asyncio.Event()
            LOOP.call_soon(event.set)
            await asyncio.wait_for(event.wait(), 3600)
            return b"ok"

        def at_count(environ, start_response):
            gc.collect()
            return answer(start_response, len(things))
        """, level="error")
    with server.connect() as client:
        for _ in range(900):
            assert client.request("GET", "/x").status == 200
    assert server.get("/count").json() < 300


def test_closed_loops_are_freed(nginx):
    """And those that could only half be made leave nothing."""
    server = serve(nginx, """
        import gc
        import weakref
        from ngx_wsgi.asyncio import Loop

        loops = weakref.WeakSet()

        def at_make(environ, start_response):
            for _ in range(20):
                loop = Loop()
                loops.add(loop)
                loop.call_soon(loop.time)
                loop.close()
            return answer(start_response, b"ok")

        def at_count(environ, start_response):
            gc.collect()
            return answer(start_response, len(loops))
        """)
    assert server.get("/make").body == b"ok"
    # In the meantime nginx has called for their first turns.
    wait_for(lambda: server.get("/count").json() <= 1, "they are freed")


def test_a_running_loop_is_not_closed(nginx):
    """And loses nothing by the attempt."""
    server = serve(nginx, """
        async def on_x(environ):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                seen = LOOP.create_future()
                LOOP.add_reader(ours, lambda: (LOOP.remove_reader(ours), seen.set_result(ours.recv(1))))
                assert raised(LOOP.close) == "RuntimeError"
                theirs.send(b"x")
                return await seen
        """)
    assert server.get("/x").body == b"x"


def test_stop_ends_a_turn_only(nginx):
    server = serve(nginx, """
        async def on_x(environ):
            for _ in range(3):
                LOOP.stop()
                await asyncio.sleep(0.001)
                LOOP.stop()
                await asyncio.sleep(0)
            return b"on"
        """)
    assert server.get("/x").body == b"on"


def test_another_loop_in_a_request(nginx):
    """asyncio.run() makes one, and leaves ours alone."""
    server = serve(nginx, """
        async def other():
            await asyncio.sleep(0.001)
            return asyncio.get_running_loop() is not LOOP

        def at_x(environ, start_response):
            return answer(start_response, asyncio.run(other()))

        async def on_ours(environ):
            return get_loop() is asyncio.get_running_loop() is LOOP
        """)
    assert server.get("/x").json() is True
    assert server.get("/ours").json() is True


def test_other_threads(nginx):
    """They may neither get it nor run it; call_soon_threadsafe() is for them."""
    server = serve(nginx, """
        def tries():
            found = []
            for try_it in (get_loop, LOOP.run_forever):
                try:
                    try_it()
                except RuntimeError as error:
                    found.append(str(error))
            return found

        async def on_x(environ):
            return await LOOP.run_in_executor(None, tries)
        """)
    for text in server.get("/x").json():
        assert "nginx's thread" in text and "asyncio.run()" in text
