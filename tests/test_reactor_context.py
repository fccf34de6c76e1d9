"""ngx_reactor and contextvars: each handler has the context that it was given in, a copy, for itself."""

import pytest

from harness.apps import wait_notes
from harness.reactor import ask, serve
from harness.waiting import nothing_left

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    import contextvars

    var = contextvars.ContextVar("var", default="unset")

    def at_make(environ, start_response):
        name = environ["QUERY_STRING"]
        var.set(name)
        def handler(kind):
            def call(found=None):
                before = var.get()
                var.set(name + " changed by " + kind)
                note(kind, before)
                if found:
                    del_event(found)
            return call
        made = event(name, handler("event"))
        add_timer(handler("timer"), 10)
        post(handler("post"))
        pairs[name][1].send(b"x")
        return answer(start_response, var.get())

    def at_look(environ, start_response):
        return answer(start_response, var.get())

    def at_suspended(environ, start_response):
        # Handlers run while it is suspended: what they change is theirs.
        var.set("request")
        start_response("200 OK", PLAIN)
        for _ in range(5):
            add_timer(lambda: var.set("handler"), 1)
            post(lambda: var.set("handler"))
        yield environ["ngx.sleep"](50)
        yield var.get().encode()

    def at_event(environ, start_response):
        # The same event twice: does the second call see what the first one has set?
        var.set("made")
        def handler(found):
            found.arg.recv(1)
            note("saw", var.get())
            var.set("first call")
        end = pair("a")
        events["a"] = create_event(end, handler, end)
        add_event(events["a"])
        return answer(start_response, None)

    def at_thread(environ, start_response):
        # A thread has a context of its own.
        var.set("request")
        def run():
            var.set("thread")
            post(lambda: note("post", var.get()))
        threading.Thread(target=run).start()
        return answer(start_response, None)
    """


def test_each_has_its_own(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        for name in "ab":
            assert ask(server, f"/make?{name}") == name
        for kind in ("event", "timer", "post"):
            assert sorted(wait_notes(server, kind, 2)) == [f"{kind} a", f"{kind} b"]
        assert ask(server, "/look") == "unset"
        ask(server, "/quiet")


def test_a_suspended_request_keeps_its_own(nginx):
    server = serve(nginx, APP)
    assert server.get("/suspended").body == b"request"


def test_an_event_that_fires_twice(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/event")
        server.get("/send?a")
        wait_notes(server, "saw")
        server.get("/send?a")
        assert wait_notes(server, "saw", 2)[0] == "saw made"
        ask(server, "/quiet")


def test_of_a_thread(nginx):
    server = serve(nginx, APP)
    ask(server, "/thread")
    assert wait_notes(server, "post") == ["post thread"]
