"""Runs CPython's own tests of asyncio in a worker, on the loop that nginx drives.

The tests run in a thread, since they wait for the loop, which nginx's thread must not. Where a test runs its loop, it is
nginx's thread that takes the turns, until somebody calls stop(), and the thread of the test waits for that.
"""

import asyncio
import concurrent.futures
import fnmatch
import json
import sys
import threading
import unittest

import ngx_wsgi.loop
from ngx_wsgi import native

NGINX = threading.get_ident()


def on_nginx(function, *args):
    """What the function returns on nginx's thread."""
    if threading.get_ident() == NGINX:
        return function(*args)
    answer = concurrent.futures.Future()

    def call():
        try:
            answer.set_result(function(*args))
        except BaseException as error:
            answer.set_exception(error)

    native.post(call)
    return answer.result()


class Remote:
    """A watch or a timer, for any thread."""

    def __init__(self, make, *args):
        self._own = on_nginx(make, *args)

    def set(self, flags):
        on_nginx(self._own.set, flags)

    def cancel(self):
        on_nginx(self._own.cancel)


class Native:
    """ngx_wsgi.native, for any thread."""

    READ, WRITE = native.READ, native.WRITE
    post, queue, outside = native.post, native.queue, native.outside

    @staticmethod
    def watch(fd, flags, callback):
        return Remote(native.watch, fd, flags, callback)

    @staticmethod
    def timer(milliseconds, callback):
        return Remote(native.timer, milliseconds, callback)


class Driven(ngx_wsgi.loop.Loop):
    """A loop that another thread makes and runs, as the tests do, and nginx drives while that thread waits."""

    turns = 0

    def __init__(self, selector=None):
        self._end = None
        self._is_stopped = False
        super().__init__()

    def is_here(self):
        return True

    def set_debug(self, enabled):
        # unittest sets it for all its asynchronous tests, and there is less of ours in a loop that is debugged.
        if sys._getframe(1).f_globals["__name__"] not in ("asyncio.runners", "unittest.async_case"):
            super().set_debug(enabled)

    def run_forever(self):
        if threading.get_ident() == NGINX:
            super().run_forever()  # which says that this cannot be
            return
        self._check_closed()
        self._check_running()
        end = self._end = concurrent.futures.Future()
        native.post(self._turn)
        end.result()

    def stop(self):
        super().stop()
        self._is_stopped = True

    def _turn(self):
        if self._end is None:
            return
        Driven.turns += 1
        try:
            super()._turn()
        except BaseException as error:
            self._over().set_exception(error)
        else:
            if self._is_stopped:
                self._over().set_result(None)

    def _over(self):
        end, self._end, self._is_stopped = self._end, None, False
        return end


class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return Driven()


class Result(unittest.TestResult):
    """Counts the tests in which nginx drove a loop of ours."""

    def __init__(self):
        super().__init__()
        self.driven = 0
        self._turns_before = 0

    def startTest(self, test):
        super().startTest(test)
        # Some modules set it back when they are done.
        if not isinstance(asyncio.get_event_loop_policy(), Policy):
            asyncio.set_event_loop_policy(Policy())
        self._turns_before = Driven.turns
        # For whoever wonders where it hangs.
        with open("running", "w") as file:
            file.write(test.id())

    def stopTest(self, test):
        super().stopTest(test)
        # Python 3.12.1 stops tests that it has not started.
        self.driven += Driven.turns > self._turns_before
        self._turns_before = Driven.turns


def tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def run(folder, module, left_out):
    """folder: of a package `test` that has the module.  left_out: patterns of the ids of tests."""
    import test

    test.__path__.append(folder)
    ngx_wsgi.loop.native = Native
    # One, so that stop() is seen as soon as asyncio itself would see it.
    ngx_wsgi.loop.ITERATIONS = 1
    asyncio.SelectorEventLoop = asyncio.unix_events.SelectorEventLoop = Driven
    # Of those that tell of the end of a child, SafeChildWatcher needs a signal, which is nginx's.
    asyncio.SafeChildWatcher = getattr(asyncio, "ThreadedChildWatcher", None)
    asyncio.set_event_loop_policy(Policy())

    def name(test):
        return test.id().partition("test.test_asyncio.")[2] or test.id()

    found = list(tests_of(unittest.defaultTestLoader.loadTestsFromName(f"test.test_asyncio.{module}")))
    chosen = [
        test for test in found if not any(fnmatch.fnmatchcase(name(test), pattern) for pattern in left_out)
    ]
    result = Result()
    unittest.TestSuite(chosen).run(result)
    return {
        "ran": result.testsRun,
        "driven": result.driven,
        "failed": [(name(test), text) for test, text in result.failures + result.errors],
        "skipped": [(name(test), reason) for test, reason in result.skipped],
        "left_out": len(found) - len(chosen),
    }


def application(environ, start_response):
    order = json.loads(environ["wsgi.input"].read())
    resume = environ["x-wsgiorg.suspend"]()
    answer = []

    def work():
        try:
            answer.append(run(**order))
        finally:
            resume()

    threading.Thread(target=work).start()
    yield b""
    start_response("200 OK", [("Content-Type", "application/json")])
    yield json.dumps(answer[0]).encode()
