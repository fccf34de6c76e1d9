"""Times of the loop that are not in the near future: past ones are due at once, far ones never."""

import pytest

from harness.asynchronous import serve

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    def later(call):
        loop = ngx_wsgi.asyncio.get_loop()
        done = loop.create_future()
        call(loop, done.set_result, b"due")
        return done

    PAST = {
        "at": lambda loop, *call: loop.call_at(loop.time() - 5, *call),
        "later": lambda loop, *call: loop.call_later(-3, *call),
        "zero": lambda loop, *call: loop.call_later(0, *call),
    }

    async def async_past(environ):
        return await later(PAST[query(environ)])

    def at_outside(environ, start_response):
        # While the loop does not run.
        done = later(PAST[query(environ)])
        found = yield from wait(environ, done)
        start_response("200 OK", PLAIN)
        yield found

    async def async_far(environ):
        try:
            await asyncio.wait_for(asyncio.sleep(float(query(environ))), 0.01)
        except asyncio.TimeoutError:
            return await asyncio.wait_for(asyncio.sleep(0.001, b"not yet"), float(query(environ)))
    """


@pytest.mark.parametrize("debug", [False, True])
def test_past_and_far_times(nginx, debug):
    server = serve(nginx, APP, (), env={"PYTHONASYNCIODEBUG": "1"} if debug else {})
    for _ in range(2):
        for how in ("at", "later", "zero"):
            assert server.get(f"/past?{how}").text == "due", server.tail()
            assert server.get(f"/outside?{how}").text == "due", server.tail()
        for seconds in ("1e6", "1e9", "1e12", "1e18", "1e300", "inf"):
            assert server.get(f"/far?{seconds}").text == "not yet", server.tail()
