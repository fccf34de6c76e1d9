"""asyncio's debug mode, by `wsgi_env PYTHONASYNCIODEBUG 1`."""

import pytest

from harness.aio import serve
from harness.apps import wait_notes

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

SLOW = """
    def hold():
        time.sleep(0.15)

    async def on_slow(environ):
        hold()
        LOOP.call_soon(hold)
        await asyncio.sleep(0.001)
        return LOOP.get_debug()
    """


def test_slow_callbacks_are_logged(nginx):
    """With the task, or the place where the callback was made."""
    server = serve(nginx, SLOW, http="wsgi_env PYTHONASYNCIODEBUG 1;")
    assert server.get("/slow").json() is True
    server.wait_for_log(r"wsgi: Executing <Task .*_answer.* took 0\.1\d* seconds")
    server.wait_for_log(r"wsgi: Executing <Handle hold\(\) at .*app.py:\d+ created at .*app.py:\d+> took 0\.1\d* sec")


def test_without_it(nginx):
    server = serve(nginx, SLOW)
    assert server.get("/slow").json() is False
    server.stop()
    assert not server.log_lines("Executing")


def test_call_soon_in_a_wrong_thread(nginx):
    """Also while the loop sleeps, when asyncio itself would not see it."""
    server = serve(nginx, """
        def wrong():
            for call in (lambda: LOOP.call_soon(int), lambda: LOOP.call_later(1, int)):
                note(raised(call))

        def at_x(environ, start_response):
            threading.Thread(target=wrong).start()
            return answer(start_response, b"ok")
        """, http="wsgi_env PYTHONASYNCIODEBUG 1;")
    assert server.get("/x").body == b"ok"
    assert wait_notes(server, "", 2) == ["RuntimeError"] * 2


def test_the_frames_of_a_traceback(nginx):
    """A failing coroutine: the application's own lines."""
    server = serve(nginx, """
        async def inner():
            await asyncio.sleep(0.001)
            raise RuntimeError("planned")

        async def on_x(environ):
            await inner()
        """)
    assert server.get("/x").status == 500
    server.wait_for_log('raise RuntimeError."planned"')
    assert server.log_lines("in on_x")
