"""ngx_reactor and the end of a worker: events, timers and posts that are left; garbage; what keeps what alive."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.nginx import alive, wait_for
from harness.reactor import ask, serve
from harness.waiting import nothing_left

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    import atexit
    import gc

    def at_leave(environ, start_response):
        # One of each kind, none of which ever ends by itself.
        event("a", lambda found: None)
        event("ready", lambda found: None)
        pairs["ready"][1].send(b"x")
        add_timer(lambda: note("never"), 3_600_000)
        def again():
            post(again)
        again()
        return answer(start_response, None)

    def at_exit(environ, start_response):
        def run():
            made = raised(lambda: event("late", lambda found: note("never")))
            note("atexit", raised(add_timer, lambda: note("never"), 0), raised(post, lambda: note("never")), made)
        atexit.register(run)
        return answer(start_response, None)

    def at_forget(environ, start_response):
        # Nobody refers to the event but the loop, which keeps it.
        end = pair("a")
        add_event(create_event(end, lambda found: (note("called"), del_event(found))), NGX_READ_EVENT)
        gc.collect()
        return answer(start_response, None)

    def at_never_added(environ, start_response):
        class Arg:
            def __del__(self):
                note("gone")
        create_event(pair("a"), lambda found: None, Arg())
        part("a")
        gc.collect()
        return answer(start_response, None)

    def at_gone(environ, start_response):
        # Taken back: neither the handler nor the argument is kept.
        class Arg:
            def __del__(self):
                note("gone")
        made = create_event(pair("a"), lambda found: None, Arg())
        add_event(made)
        del_event(made)
        del made
        part("a")
        timer = add_timer(Arg().__repr__, 60000)
        del_timer(timer)
        del timer
        gc.collect()
        return answer(start_response, None)

    def at_cycle(environ, start_response):
        # The event refers to itself; the collector finds it once it is taken back.
        class Arg:
            def __del__(self):
                note("gone")
        arg = Arg()
        arg.event = create_event(pair("a"), lambda found: None, arg)
        add_event(arg.event)
        gc.collect()
        del_event(arg.event)
        del arg
        part("a")
        gc.collect()
        return answer(start_response, None)

    def at_collects(environ, start_response):
        # The collector runs in a handler, amid events that come and go.
        counts = []
        def handler(found):
            del_event(found)
            part(found.arg)
            counts.append(1)
            gc.collect()
            if len(counts) < 50:
                begin(len(counts))
            else:
                note("collected")
        def begin(number):
            name = f"c{number}"
            event(name, handler, name)
            del events[name]
            pairs[name][1].send(b"x")
        begin(0)
        return answer(start_response, None)

    def at_destroys(environ, start_response):
        # A destructor that uses the loop: of a handler that is dropped when its event is taken back.
        class Arg:
            def __del__(self):
                add_timer(lambda: note("timer of a destructor"), 0)
                post(lambda: note("post of a destructor"))
        made = event("a", lambda found: None, Arg())
        del_event(made)
        del events["a"], made
        part("a")
        return answer(start_response, None)

    def at_count(environ, start_response):
        gc.collect()
        return answer(start_response, len(gc.get_objects()))

    def at_round(environ, start_response):
        for number in range(100):
            made = event("a", lambda found: None)
            del_event(made)
            part("a")
            del_timer(add_timer(lambda: None, 1000))
            add_timer(lambda: None, 0)
            post(lambda: None)
        del events["a"]
        return answer(start_response, None)
    """
LEFT = dict(check_fds=False)


@pytest.mark.parametrize("name", ["QUIT", "TERM"])
def test_a_worker_ends_with_everything_left(nginx, name):
    """A graceful end does not wait for any of it."""
    server = serve(nginx, APP, **LEFT)
    ask(server, "/leave")
    assert server.get("/hello").body == b"hello"
    server.signal(name)
    assert server.wait_exit() == 0
    assert notes(server) == []


def test_reloads(nginx):
    """The old worker goes with what it has; the new one begins with nothing."""
    server = serve(nginx, APP, **LEFT)
    for _ in range(3):
        old = server.worker
        ask(server, "/leave")
        server.hup()
        wait_for(lambda: not alive(old), "the old worker is gone")
    assert notes(server) == []


def test_a_single_process(nginx):
    server = serve(nginx, APP, master=False, **LEFT)
    ask(server, "/leave")
    server.signal("TERM")
    assert server.wait_exit() == 0


@pytest.mark.parametrize("name", ["QUIT", "TERM"])
def test_in_exit_functions(nginx, name):
    """It may be refused, or it does nothing."""
    server = serve(nginx, APP, **LEFT)
    ask(server, "/exit")
    server.signal(name)
    assert server.wait_exit() == 0
    (line,) = notes(server)
    assert set(line.split()[1:]) <= {"None", "RuntimeError"}


def test_the_loop_keeps_an_event(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/forget")
        settled(lambda: 0, quiet=0.1)
        server.get("/send?a")
        wait_notes(server, "called")
        ask(server, "/quiet")
        server.get("/hang_up?a")
        server.get("/never_added")


@pytest.mark.parametrize("target, count", [("/never_added", 1), ("/gone", 2), ("/cycle", 1)])
def test_nothing_is_kept_longer(nginx, target, count):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, target)
        wait_notes(server, "gone", count)
        assert notes(server) == ["gone"] * count


def test_garbage_collection_in_handlers(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/collects")
        wait_notes(server, "collected")


def test_a_destructor_that_uses_the_loop(nginx):
    server = serve(nginx, APP)
    ask(server, "/destroys")
    wait_notes(server, "timer of a destructor")
    wait_notes(server, "post of a destructor")


def test_no_objects_are_left(nginx):
    server = serve(nginx, APP, connections=32)
    with nothing_left(server):
        for _ in range(2):
            ask(server, "/round")
        settled(lambda: 0, quiet=0.1)
        before = ask(server, "/count")
        for _ in range(10):
            ask(server, "/round")
        wait_for(lambda: ask(server, "/count") - before < 50, lambda: f"{ask(server, '/count') - before} objects more")
