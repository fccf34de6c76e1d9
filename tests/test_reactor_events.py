"""ngx_reactor: events of descriptors, which stay until they are taken back."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.nginx import cpu
from harness.reactor import ask, serve
from harness.waiting import nothing_left

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    def at_begin(environ, start_response):
        def handler(found):
            assert found is made
            data = found.arg["end"].recv(1).decode()
            note("handler", found.ready, found.active, data, threading.current_thread().name)
            if not data:
                del_event(found)
        end = pair("a")
        made = events["a"] = create_event(end, handler, {"end": end})
        before = made.active, made.ready
        add_event(made, NGX_READ_EVENT)
        return answer(start_response, [before, made.fd == end.fileno() == made.fileno(), made.handler is handler,
                                       made.arg["end"] is end, made.active])

    def at_times(environ, start_response):
        for _ in range(int(environ["QUERY_STRING"])):
            pairs["a"][1].send(b"x")
        return answer(start_response, None)

    def at_both(environ, start_response):
        # Full and empty: nothing is ready; then one direction, then the other.
        def handler(found):
            note("ready", found.ready)
            if found.ready & NGX_READ_EVENT:
                found.arg.recv(100)
            if found.ready & NGX_WRITE_EVENT:
                fill(found.arg)
        end = fill(pair("a"))
        events["a"] = create_event(end.fileno(), handler, end)
        add_event(events["a"], NGX_READ_EVENT | NGX_WRITE_EVENT)
        return answer(start_response, events["a"].active)

    def at_drain(environ, start_response):
        try:
            while True:
                pairs["a"][1].recv(1 << 20)
        except BlockingIOError:
            return answer(start_response, None)

    def at_one_by_one(environ, start_response):
        # Adding and taking back the directions one by one.
        def handler(found):
            note("ready", found.ready)
            del_event(found, found.ready)
            note("active", found.active)
        made = events["a"] = create_event(pair("a"), handler)
        pairs["a"][1].send(b"x")
        said = []
        for flag in (NGX_READ_EVENT, NGX_WRITE_EVENT, NGX_READ_EVENT):
            add_event(made, flag)
            said.append(made.active)
        for flag in (NGX_READ_EVENT, NGX_WRITE_EVENT):
            del_event(made, flag)
            said.append(made.active)
        said.append(raised(del_event, made))
        add_event(made)
        said.append(made.active)
        return answer(start_response, said)

    def at_many(environ, start_response):
        # Each once, and then no more.
        def handler(found):
            del_event(found)
            note("many", found.arg)
        for number in range(50):
            event(number, handler, number)
        for number in range(50):
            pairs[number][1].send(b"x")
        return answer(start_response, None)

    def at_lazy(environ, start_response):
        # It never reads, so it is called again and again.
        def handler(found):
            found.arg.append(1)
            if len(found.arg) == 1000:
                del_event(found)
                note("often")
        event("a", handler, [])
        pairs["a"][1].send(b"x")
        return answer(start_response, None)

    def at_lazy_for_ever(environ, start_response):
        event("a", lambda found: note("called") if not notes_of else None)
        notes_of.append(1)
        pairs["a"][1].send(b"x")
        return answer(start_response, None)

    notes_of = []

    def at_two(environ, start_response):
        # Two events of one descriptor are two.
        def handler(found):
            note("two", found.arg)
            del_event(found)
        end = pair("a")
        events["a"] = create_event(end, handler, "one")
        other = create_event(end, handler, "other")
        add_event(events["a"])
        add_event(other)
        pairs["a"][1].send(b"x")
        return answer(start_response, None)
    """


def test_a_handler_is_called(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert ask(server, "/begin") == [[0, 0], True, True, True, 1]
        assert settled(lambda: notes(server), quiet=0.1) == []
        server.get("/times?3")
        assert wait_notes(server, "handler", 3) == ["handler 1 1 x MainThread"] * 3
        server.get("/hang_up?a")
        wait_notes(server, "handler", 4)
        assert settled(lambda: notes(server)[3:], quiet=0.1) == ["handler 1 1  MainThread"]
        ask(server, "/quiet")


def test_both_directions(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert ask(server, "/both") == 5
        assert settled(lambda: notes(server), quiet=0.1) == []
        server.get("/send?a")
        assert wait_notes(server, "ready") == ["ready 1"]
        server.get("/drain")
        assert wait_notes(server, "ready", 2)[1] in ("ready 4", "ready 5")
        ask(server, "/quiet")


def test_directions_one_by_one(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert ask(server, "/one_by_one") == [1, 5, 5, 4, 0, "RuntimeError", 1]
        wait_notes(server, "active")
        assert settled(lambda: notes(server), quiet=0.1) == ["ready 1", "active 0"]
        ask(server, "/quiet")


def test_many_events(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/many")
        wait_notes(server, "many", 50)
        assert sorted(settled(lambda: notes(server), quiet=0.1)) == sorted(f"many {number}" for number in range(50))
        ask(server, "/quiet")


def test_as_long_as_it_is_ready(nginx):
    """And everybody else gets his turn meanwhile."""
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/lazy")
        wait_notes(server, "often")
        ask(server, "/quiet")


def test_a_handler_that_never_reads_stops_nobody(nginx):
    server = serve(nginx, APP, "location / { wsgi_pass app.py; } location /static/ { alias %%FOLDER%%/; }")
    (server.folder / "file").write_text("static")
    with nothing_left(server):
        ask(server, "/lazy_for_ever")
        for _ in range(50):
            assert server.get("/static/file").body == b"static"
            assert server.get("/hello").body == b"hello"
        ask(server, "/quiet")
        # Taken back: the loop sleeps again.
        used = cpu(server.worker)
        settled(lambda: 0, quiet=0.3)
        assert cpu(server.worker) - used < 0.2


def test_two_events_of_one_descriptor(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/two")
        assert sorted(wait_notes(server, "two", 2)) == ["two one", "two other"]
        ask(server, "/quiet")
