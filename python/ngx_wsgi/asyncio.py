"""asyncio for applications that run in nginx's event loop, without `wsgi_threads`.

    from ngx_wsgi.asyncio import respond

    async def page(environ):
        text = await fetch(environ["QUERY_STRING"])
        return "200 OK", [("Content-Type", "text/plain")], text.encode()

    def application(environ, start_response):
        return respond(environ, start_response, page(environ))

While a coroutine waits, its request is suspended and nginx goes on with everything else.
"""

import asyncio
import contextlib
import logging
import traceback
import weakref

from ngx_wsgi.loop import Loop

__all__ = ["Loop", "get_loop", "respond", "wait"]

_loop = None
# What requests have cancelled when they ended.
_cancelled = weakref.WeakSet()


def get_loop():
    """The loop of this interpreter in this worker, made at the first call. It runs as long as the worker does.

    Raises RuntimeError in any other thread than nginx's, and where there is no event loop, as with `nginx -t`.
    """
    global _loop
    if _loop is None:
        try:
            _loop = Loop()
        except RuntimeError as error:
            raise RuntimeError(f"{error}; {_ELSEWHERE}") from None
        # For whoever asks while it does not run; with Python 3.9, locks that are made outside of a coroutine.
        asyncio.set_event_loop(_loop)
    elif not _loop.is_here():
        raise RuntimeError(f"the loop belongs to nginx's thread; {_ELSEWHERE}")
    return _loop


_SWALLOWED = (
    "the application cannot wait: the empty item with which it suspends the request did not reach nginx; something "
    "between them, middleware for instance, takes items without passing them on"
)
_ELSEWHERE = "a thread, as with wsgi_threads, has a loop of its own by asyncio.run()"


def wait(environ, awaitable):
    """Suspends the request until `awaitable` is done: `result = yield from wait(environ, awaitable)`.

    A coroutine becomes a task in the context (contextvars) of the request. If the request ends before the task, because
    the client leaves for instance, the task is cancelled. Raises what the awaitable raises.
    """
    suspend = _suspend(environ)
    future = asyncio.ensure_future(awaitable, loop=get_loop())
    try:
        # More than once if the application has asked for another suspension that ended first.
        while not future.done():
            resume = suspend()
            future.add_done_callback(lambda _, resume=resume: resume())
            yield b""
            # The suspension is over now, so this comes too late, unless it has never begun.
            if not future.done() and resume():
                raise RuntimeError(_SWALLOWED)
    finally:
        _cancel(future)
    return future.result()


def respond(environ, start_response, work):
    """The response that a coroutine makes, to be returned by the application.

    work: a coroutine that returns `(status, headers, body)`, or the body alone if it has called `start_response`. The
    body is bytes, or an iterable of bytes, or an asynchronous one. Or an asynchronous generator, which calls
    `start_response` and yields blocks: the next is asked for when the last one has been sent.

    All of it is cancelled if the client leaves. Empty blocks come before `start_response` is called, which PEP 3333
    allows; for middleware that does not, such as wsgiref.validate, there is wait().
    """
    _suspend(environ)
    return _stream(environ, work) if _is_asynchronous(work) else _answer(environ, start_response, work)


def _cancel(future):
    if future.cancel():
        _cancelled.add(future)


def _suspend(environ):
    try:
        return environ["x-wsgiorg.suspend"]
    except KeyError:
        raise RuntimeError(f"a request cannot be suspended here; {_ELSEWHERE}") from None


def _is_asynchronous(body):
    return hasattr(body, "__aiter__")


def _answer(environ, start_response, coroutine):
    body = yield from wait(environ, coroutine)
    if isinstance(body, tuple):
        status, headers, body = body
        start_response(status, headers)
    if isinstance(body, bytes):
        yield body
    elif _is_asynchronous(body):
        yield from _stream(environ, body)
    elif hasattr(body, "__iter__"):
        with contextlib.closing(body) if hasattr(body, "close") else contextlib.nullcontext():
            yield from body
    else:
        raise TypeError(
            f"the coroutine returned {type(body).__name__}; bytes, an iterable of bytes or (status, headers, body) is "
            "expected"
        )


def _stream(environ, blocks):
    producer = _Producer(blocks)
    try:
        while True:
            block = yield from wait(environ, producer.ask())
            if block is None:
                return
            yield block
    finally:
        _cancel(producer.task)


class _Producer:
    """The task that makes the blocks of a response, all of them, so that a timeout or a lock may span several."""

    def __init__(self, blocks):
        self._blocks = blocks
        self._loop = get_loop()
        self._asked = self._loop.create_future()
        self._offer = None
        self.task = self._loop.create_task(self._run())
        self.task.add_done_callback(self._end)

    def ask(self):
        """A future of the next block, or of None at the end. To be called when the last one has been sent."""
        self._offer = self._loop.create_future()
        if self.task.done():
            self._end(self.task)
        elif not self._asked.done():
            self._asked.set_result(None)
        return self._offer

    async def _run(self):
        try:
            await self._asked
            async for block in self._blocks:
                self._asked = self._loop.create_future()
                self._offer.set_result(block)
                await self._asked
        finally:
            if hasattr(self._blocks, "aclose"):
                await self._blocks.aclose()

    def _end(self, task):
        if self._offer.done():
            return  # by the request, which has ended; what the task raised is logged by asyncio
        if task.cancelled():
            self._offer.cancel()
        elif task.exception() is not None:
            self._offer.set_exception(task.exception())
        else:
            self._offer.set_result(None)


def shutdown(limit):
    """The worker ends: so do all tasks, asynchronous generators and threads of the default executor.

    limit: seconds for all of it. What takes longer is left to the end of the process.
    """
    if _loop is None or _loop.is_closed():
        return
    ending = _loop.create_task(_end_all(limit))
    ending.add_done_callback(lambda _: _loop.stop())
    # Somebody's clean-up may stop the loop or raise SystemExit.
    while not ending.done():
        try:
            _loop.run_forever()
        except BaseException:
            traceback.print_exc()
    if ending.result():
        _loop.close()


async def _end_all(limit):
    """Returns whether everything has ended in time."""
    loop = asyncio.get_running_loop()
    all_ended = True

    async def left_of(futures, share, what=None):
        """Those that have not ended within a share of the limit; `what` they are, if that is to be logged."""
        nonlocal all_ended
        # Not asyncio.timeout: it cancels, and joins the threads of an executor then.
        _, left = await asyncio.wait(futures, timeout=share * limit) if futures else (None, ())
        if left and what:
            all_ended = False
            names = ", ".join(map(repr, left))
            text = "%s did not end in time, the worker leaves without them: %s"
            logging.getLogger("asyncio").warning(text, what, names)
        return left

    # Those whose requests have ended may be cleaning up, with the help of others. To cancel them again would cut that.
    await left_of([future for future in _cancelled if not future.done()], 0.3)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    # One that has not heard the first time may hear the second time.
    for share, what in ((0.3, None), (0.2, "tasks")):
        for task in tasks:
            task.cancel()
        tasks = await left_of(tasks, share, what)
    await left_of([loop.create_task(loop.shutdown_asyncgens())], 0.1, "asynchronous generators")
    await left_of([loop.create_task(loop.shutdown_default_executor())], 0.1, "threads of the default executor")
    return all_ended
