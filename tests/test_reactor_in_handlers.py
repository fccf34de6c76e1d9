"""ngx_reactor: what handlers do to events and timers, their own and those of others that are due in the same turn."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.reactor import ask, serve
from harness.waiting import nothing_left

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    def at_each_other(environ, start_response):
        # Both are ready in the same turn: whoever is first takes the other one back.
        def handler(found):
            note("called", found.arg)
            del_event(events["ab"[found.arg == "a"]])
            del_event(found)
        for name in "ab":
            event(name, handler, name)
        for name in "ab":
            pairs[name][1].send(b"x")
        return answer(start_response, None)

    def at_timers_each_other(environ, start_response):
        timers = {}
        def handler(name):
            note("called", name)
            for timer in timers.values():
                del_timer(timer)
        for name in "abc":
            timers[name] = add_timer(lambda name=name: handler(name), 0)
        return answer(start_response, None)

    def at_timer_and_event(environ, start_response):
        # An event takes a timer back that is due, or the timer the event.
        def handler(found=None):
            note("called", "timer" if found is None else "event")
            del_timer(timer)
            if events["a"].active:
                del_event(events["a"])
        event("a", handler)
        timer = add_timer(handler, 0)
        pairs["a"][1].send(b"x")
        time.sleep(0.01)
        return answer(start_response, None)

    def at_closes(environ, start_response):
        # The handler closes its descriptor, with or without taking the event back.
        how = environ["QUERY_STRING"]
        def handler(found):
            note("called", how)
            if how == "before":
                del_event(found)
            pairs["a"][0].close()
            if how == "after":
                note("after", raised(del_event, found))
        event("a", handler)
        pairs["a"][1].send(b"x")
        return answer(start_response, None)

    def at_closes_other(environ, start_response):
        # One that is ready in the same turn.
        def handler(found):
            note("called")
            del_event(found)
            for name in "ab":
                if name != found.arg:
                    pairs[name][0].close()
        for name in "ab":
            event(name, handler, name)
            pairs[name][1].send(b"x")
        return answer(start_response, None)

    def at_state(environ, start_response):
        return answer(start_response, {name: found.active for name, found in events.items()})

    def at_adds(environ, start_response):
        # A handler makes another event, which is ready at once, and a timer, and a post.
        def second(found):
            note("second")
            del_event(found)
            add_timer(lambda: note("timer"), 0)
            post(lambda: note("post"))
        def first(found):
            note("first")
            del_event(found)
            event("b", second)
            pairs["b"][1].send(b"x")
            pairs["b"][1].send(b"y")
        event("a", first)
        pairs["a"][1].send(b"x")
        return answer(start_response, None)

    def at_again(environ, start_response):
        # Taken back and added again in its own handler.
        def handler(found):
            found.arg.append(1)
            del_event(found)
            note("called")
            if len(found.arg) < 3:
                add_event(found)
        event("a", handler, [])
        pairs["a"][1].send(b"x")
        return answer(start_response, None)

    def at_handler_changes(environ, start_response):
        # The attributes are the event's own: another handler may follow.
        def second(found):
            note("second", found.arg)
            del_event(found)
        def first(found):
            note("first")
            try:
                found.handler, found.arg = second, "changed"
            except AttributeError:
                note("second changed")
                del_event(found)
        event("a", first)
        pairs["a"][1].send(b"x")
        return answer(start_response, None)

    def at_resumes(environ, start_response):
        # A handler resumes a suspended request.
        start_response("200 OK", PLAIN)
        resume = environ["wsgi.pause_output"]()
        def handler(found):
            found.arg.recv(10)
            note("said", resume(), resume())
        end = pair("a")
        events["a"] = create_event(end, handler, end)
        add_event(events["a"])
        note("waits")
        yield b""
        quiet("a")
        yield b"resumed"

    def at_request(environ, start_response):
        # A handler has no request, not even that which has made it.
        event("a", lambda found: (del_event(found), note("raised", raised(environ["x-wsgiorg.suspend"]),
                                                         raised(bool, environ["x-wsgiorg.suspend_status"]))))
        pairs["a"][1].send(b"x")
        return answer(start_response, None)
    """


def test_one_takes_the_other_back(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/each_other")
        wait_notes(server, "called")
        assert len(settled(lambda: notes(server), quiet=0.2)) == 1
        assert ask(server, "/state") == {"a": 0, "b": 0}
        ask(server, "/quiet")
    assert not server.log_lines(r"\[error\]")


@pytest.mark.parametrize("target", ["/timers_each_other", "/timer_and_event"])
def test_what_is_taken_back_is_not_called(nginx, target):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, target)
        wait_notes(server, "called")
        assert len(settled(lambda: notes(server), quiet=0.2)) == 1
        ask(server, "/quiet")
    assert not server.log_lines(r"\[error\]")


@pytest.mark.parametrize("how", ["before", "after", "never"])
def test_a_handler_closes_its_descriptor(nginx, how):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, f"/closes?{how}")
        wait_notes(server, "called")
        assert settled(lambda: notes(server, "called"), quiet=0.2) == [f"called {how}"]
        if how == "after":
            assert notes(server, "after") == ["after None"]
        server.get("/hang_up?a")
        settled(lambda: 0, quiet=0.1)
        assert ask(server, "/state") == {"a": 0}
        ask(server, "/quiet")
    assert not server.log_lines(r"\[error\]")


def test_a_handler_closes_the_descriptor_of_another(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/closes_other")
        wait_notes(server, "called")
        assert len(settled(lambda: notes(server), quiet=0.2)) == 1
        assert ask(server, "/state") == {"a": 0, "b": 0}
        ask(server, "/quiet")
    assert not server.log_lines(r"\[error\]")


def test_a_handler_adds_others(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/adds")
        wait_notes(server, "timer")
        wait_notes(server, "post")
        assert notes(server)[:2] == ["first", "second"]
        ask(server, "/quiet")


def test_added_again(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/again")
        wait_notes(server, "called", 3)
        assert settled(lambda: len(notes(server)), quiet=0.2) == 3
        ask(server, "/quiet")


def test_another_handler(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/handler_changes")
        wait_notes(server, "second changed")
        assert settled(lambda: notes(server), quiet=0.1) == ["first", "second changed"]
        ask(server, "/quiet")


def test_a_handler_resumes_a_request(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = server.connect()
        client.send_request("GET", "/resumes")
        wait_notes(server, "waits")
        server.get("/send?a")
        assert client.read_response().body == b"resumed"
        assert notes(server, "said") == ["said True False"]


def test_a_handler_has_no_request(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/request")
        assert wait_notes(server, "raised") == ["raised RuntimeError RuntimeError"]
        ask(server, "/quiet")
