"""ngx_reactor: timers, their order, and taking them back."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.reactor import ask, serve
from harness.waiting import nothing_left

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    def at_order(environ, start_response):
        for milliseconds in (900, 300, 0, 600):
            add_timer(lambda milliseconds=milliseconds: note("timer", milliseconds), milliseconds)
        return answer(start_response, None)

    def at_elapsed(environ, start_response):
        begun = time.monotonic()
        add_timer(lambda: note("elapsed", time.monotonic() - begun >= 0.199, threading.current_thread().name), 200)
        # What the slice itself takes does not shorten it.
        time.sleep(0.05)
        return answer(start_response, None)

    def at_after_a_pause(environ, start_response):
        # nginx's clock stands still while an application runs: a timer begins when it is made.
        time.sleep(0.3)
        begun = time.monotonic()
        add_timer(lambda: note("elapsed", time.monotonic() - begun >= 0.199, round(time.monotonic() - begun, 3)), 200)
        return answer(start_response, None)

    def at_same(environ, start_response):
        for number in range(20):
            add_timer(lambda number=number: note("timer", number), 50)
        return answer(start_response, None)

    def at_deleted(environ, start_response):
        timers = [add_timer(lambda number=number: note("timer", number), 100) for number in range(4)]
        del_timer(timers[1])
        del_timer(timers[1])
        return answer(start_response, [del_timer(timers[3]), del_timer(timers[3])])

    def at_late(environ, start_response):
        # Taken back when it has been called already, in its own handler, and after.
        def handler():
            del_timer(timer)
            note("timer")
            post(lambda: note("again", raised(del_timer, timer)))
        timer = add_timer(handler, 10)
        return answer(start_response, None)

    def at_chain(environ, start_response):
        def handler(left):
            if left:
                add_timer(lambda: handler(left - 1), 0)
            else:
                note("chain")
        handler(500)
        return answer(start_response, None)

    def at_many(environ, start_response):
        called = []
        def handler():
            called.append(1)
            if len(called) == 5000:
                note("many")
        timers = [add_timer(handler, number % 100) for number in range(5000)]
        return answer(start_response, len(set(map(id, timers))))

    def at_dropped(environ, start_response):
        # Nobody keeps the timer itself.
        import gc
        add_timer(lambda: note("timer"), 50)
        gc.collect()
        return answer(start_response, None)

    def at_bad(environ, start_response):
        handler = lambda: note("never")
        return answer(start_response, [
            raised(add_timer, handler, -1), raised(add_timer, handler, 1.5), raised(add_timer, handler, "1"),
            raised(add_timer, handler, None), raised(add_timer, None, 1), raised(add_timer, handler),
            raised(del_timer, None), raised(del_timer, 1), raised(add_timer, handler, 2 ** 70)])
    """


def test_in_their_order(nginx):
    server = serve(nginx, APP)
    ask(server, "/order")
    assert wait_notes(server, "timer", 4) == ["timer 0", "timer 300", "timer 600", "timer 900"]


@pytest.mark.parametrize("target", ["/elapsed", "/after_a_pause"])
def test_not_too_early(nginx, target):
    server = serve(nginx, APP)
    ask(server, target)
    assert wait_notes(server, "elapsed")[0].split()[1] == "True", notes(server)


def test_the_same_time(nginx):
    server = serve(nginx, APP)
    ask(server, "/same")
    wait_notes(server, "timer", 20)
    assert sorted(notes(server)) == sorted(f"timer {number}" for number in range(20))


def test_taken_back(nginx):
    server = serve(nginx, APP)
    assert ask(server, "/deleted") == [None, None]
    wait_notes(server, "timer", 2)
    assert sorted(settled(lambda: notes(server))) == ["timer 0", "timer 2"]


def test_taken_back_too_late(nginx):
    server = serve(nginx, APP)
    ask(server, "/late")
    assert wait_notes(server, "again") == ["again None"]
    assert settled(lambda: notes(server, "timer")) == ["timer"]


def test_timers_of_no_time_let_others_go_first(nginx):
    server = serve(nginx, APP)
    ask(server, "/chain")
    assert server.get("/hello").body == b"hello"
    wait_notes(server, "chain")


def test_thousands(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert ask(server, "/many") == 5000
        wait_notes(server, "many")


def test_nobody_keeps_it(nginx):
    server = serve(nginx, APP)
    ask(server, "/dropped")
    wait_notes(server, "timer")


def test_refused(nginx):
    server = serve(nginx, APP)
    found = ask(server, "/bad")
    assert found[0] == "ValueError" and found[1:4] == ["TypeError"] * 3 and found[4:6] == ["TypeError"] * 2
    assert found[6] in ("TypeError", "AttributeError") and found[7] in ("TypeError", "AttributeError")
    assert found[8] in ("ValueError", "OverflowError")
    assert notes(server) == []
