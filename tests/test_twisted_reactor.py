"""What belongs to Twisted's reactor in a worker: its threads, its timers, its start and its end."""

import time

import pytest

from harness.apps import notes, wait_notes
from harness.asynchronous import answers, ask, interpreter
from harness.docs import blocks
from harness.nginx import ROOT, alive
from harness.threads import threads_of
from harness.twisted import serve

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    import atexit
    import threading

    atexit.register(note, "exit function")
    reactor.addSystemEventTrigger("before", "shutdown", lambda: note("before shutdown"))

    def deferred_thread(environ):
        def work():
            block_until_there("go")
            return threading.current_thread() is threading.main_thread()
        note("asked")
        return threads.deferToThread(work)

    def deferred_from_thread(environ):
        done = defer.Deferred()
        def work():
            for number in range(100):
                reactor.callFromThread(seen.append, number)
            reactor.callFromThread(lambda: done.callback([seen == list(range(100)),
                                                          threading.current_thread() is threading.main_thread()]))
        seen = []
        # A thread that Twisted has not made.
        threading.Thread(target=work).start()
        return done

    def deferred_blocking(environ):
        # A thread asks the reactor for something and waits for it.
        def ask():
            return threads.blockingCallFromThread(reactor, task.deferLater, reactor, 0.01, lambda: "from the reactor")
        return threads.deferToThread(ask)

    def deferred_later(environ):
        order = []
        for delay in (0.03, 0.01, 0.02, 0):
            reactor.callLater(delay, order.append, delay)
        cancelled = reactor.callLater(0.01, order.append, "never")
        moved = reactor.callLater(5, order.append, "moved")
        cancelled.cancel()
        moved.reset(0.04)
        return task.deferLater(reactor, 0.06, lambda: order)

    def deferred_repeated(environ):
        times = []
        def tick():
            times.append(1)
            if len(times) == 5:
                loop.stop()
        loop = task.LoopingCall(tick)
        return loop.start(0.005).addCallback(lambda _: len(times))

    def deferred_failing_call(environ):
        reactor.callLater(0, lambda: 1 / 0)
        return task.deferLater(reactor, 0.01, lambda: b"lives")

    def deferred_stop(environ):
        reactor.stop()
        return defer.Deferred.fromFuture(asyncio.ensure_future(asyncio.sleep(0.05, b"lives"), loop=LOOP))

    def at_hello(environ, start_response):
        return answer(start_response, [reactor.running, type(reactor).__name__])

    async def slept():
        await asyncio.sleep(0.02)
        return b"slept"

    def deferred_asyncio(environ):
        # Coroutines of asyncio and Deferreds side by side.
        return defer.Deferred.fromFuture(asyncio.ensure_future(slept(), loop=LOOP))
    """


@pytest.fixture
def server(nginx):
    return serve(nginx, APP)


def test_started_without_run_and_without_signals(server):
    assert server.get("/hello").json() == [True, "AsyncioSelectorReactor"]
    # Twisted has not tried to take signals: that would be refused, and said.
    assert not server.log_lines("is refused")


def test_threads(server):
    clients = ask(server, *["/thread"] * 5)
    wait_notes(server, "asked", 5)
    assert server.get("/hello").status == 200
    (server.folder / "go").touch()
    assert [answer.json() for answer in answers(clients)] == [False] * 5
    assert server.get("/from_thread").json() == [True, True]
    assert server.get("/blocking").json() == "from the reactor"


def test_timers(server):
    for how in ("until", "wait", "respond"):
        assert server.get(f"/later/{how}").json() == [0, 0.01, 0.02, 0.03, "moved"]
        assert server.get(f"/repeated/{how}").json() == 5
        assert server.get(f"/asyncio/{how}").text == "slept"


def test_a_call_that_fails(server):
    assert server.get("/failing_call").text == "lives"
    assert server.get("/hello").status == 200


def test_the_end_of_a_worker(server):
    """Its triggers run, its threads end, and the worker does not wait for them."""
    old = server.worker
    (server.folder / "go").touch()
    assert server.get("/thread").json() is False
    assert len(threads_of(old)) > 1
    began = time.monotonic()
    server.hup()
    assert not alive(old)
    assert wait_notes(server, "before shutdown") and notes(server, "reactor ends") == ["reactor ends"]
    assert server.get("/thread").json() is False
    server.stop()
    assert len(notes(server, "before shutdown")) == 2
    # Twisted stops the loop as the last thing it does, which keeps nothing else of the end from happening.
    assert notes(server, "exit function") == ["exit function"] * 2
    assert not server.log_lines("Traceback|Event loop stopped")
    # Far from the time after which a worker leaves without its exit functions.
    assert time.monotonic() - began < 10


def test_reactor_stop_stops_neither_the_worker_nor_its_loop(server):
    worker = server.worker
    assert server.get("/stop").text == "lives"
    wait_notes(server, "before shutdown")
    assert server.get("/hello").json()[0] is False
    assert server.get("/asyncio").text == "slept"
    assert server.worker == worker


DOCUMENTED = """
PLAIN = [("Content-Type", "text/plain")]


def application(environ, start_response):
    from twisted.internet import task, threads
    reactor.addSystemEventTrigger("after", "shutdown", print, "twisted has ended")
    if environ["PATH_INFO"] == "/thread":
        return respond_later(environ, start_response, threads.deferToThread(lambda: ("200 OK", PLAIN, b"thread")))
    return respond_later(environ, start_response,
                         task.deferLater(reactor, 0.01, lambda: ("200 OK", PLAIN, b"later")))
"""


def test_as_documented(nginx):
    text = (ROOT / "docs" / "asynchronous.md").read_text()
    example, = (block for block in blocks(text, "python") if "asyncioreactor" in block)
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": example + DOCUMENTED}, check_fds=False,
                   http=interpreter("twisted"))
    assert server.get("/").text == "later", server.tail()
    assert server.get("/thread").text == "thread"
    server.stop()
    assert server.log_lines("twisted has ended")
