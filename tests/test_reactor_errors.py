"""ngx_reactor: handlers that raise, whatever they raise: it is logged, and nobody else is hurt."""

import re

import pytest

from harness.apps import notes, settled, wait_notes
from harness.reactor import ask, serve
from harness.waiting import nothing_left, resume, send

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

RAISED = {
    "ValueError": "ValueError: on purpose", "KeyboardInterrupt": "KeyboardInterrupt", "SystemExit": "SystemExit: 3",
    "GeneratorExit": "GeneratorExit", "StopIteration": "StopIteration", "Own": "Own: on purpose",
    "Timeout": "Timeout", "RecursionError": "RecursionError", "MemoryError": "MemoryError",
}
APP = """
    import ngx_wsgi

    class Own(BaseException):
        pass

    def fail(kind):
        if kind == "RecursionError":
            return fail(kind)
        raise {"ValueError": ValueError("on purpose"), "KeyboardInterrupt": KeyboardInterrupt(),
               "SystemExit": SystemExit(3), "GeneratorExit": GeneratorExit(), "StopIteration": StopIteration(),
               "Own": Own("on purpose"), "Timeout": ngx_wsgi.Timeout(), "MemoryError": MemoryError()}[kind]

    def at_fails(environ, start_response):
        # The first, the last, and one in between of each kind fail in the same turn.
        where, kind = environ["QUERY_STRING"].split(",")
        def act(number):
            note("called", number)
            if number != 1:
                fail(kind)
        if where == "event":
            def handler(found):
                found.arg[1].recv(10)
                act(found.arg[0])
            for number in range(3):
                end = pair(number)
                events[number] = create_event(end, handler, (number, end))
                add_event(events[number])
                pairs[number][1].send(b"x")
        for number in range(3):
            if where == "timer":
                add_timer(lambda number=number: act(number), 0)
            if where == "post":
                post(lambda number=number: act(number))
        return answer(start_response, None)

    def at_again(environ, start_response):
        # An event whose handler raises stays: it is called again.
        def handler(found):
            found.arg.append(1)
            note("called")
            if len(found.arg) == 5:
                del_event(found)
            raise ValueError("again")
        event("a", handler, [])
        pairs["a"][1].send(b"x")
        return answer(start_response, None)

    def at_chain(environ, start_response):
        def handler():
            try:
                {}["missing"]
            except KeyError as error:
                raise Own("chained") from error
        post(handler)
        return answer(start_response, None)

    def at_unprintable(environ, start_response):
        class Bad(Exception):
            def __str__(self):
                raise ValueError("no text")
            __repr__ = __str__
        def handler():
            raise Bad
        post(handler)
        post(lambda: note("next"))
        return answer(start_response, None)

    def at_arguments(environ, start_response):
        # Handlers that cannot be called like that.
        event("a", lambda: note("never"))
        pairs["a"][1].send(b"x")
        add_timer(lambda found: note("never"), 0)
        post(lambda found: note("never"))
        return answer(start_response, None)

    def at_exit(environ, start_response):
        post(sys.exit)
        post(lambda: note("next"))
        return answer(start_response, None)
    """


@pytest.mark.parametrize("where", ["event", "timer", "post"])
@pytest.mark.parametrize("kind", list(RAISED))
def test_others_are_called(nginx, where, kind):
    server = serve(nginx, APP)
    worker = server.worker
    with nothing_left(server):
        client = send(server, "/wait?a")
        ask(server, f"/fails?{where},{kind}")
        wait_notes(server, "called", 3)
        assert sorted(settled(lambda: notes(server, "called"), quiet=0.05)) == ["called 0", "called 1", "called 2"]
        assert resume(server, "a") is True
        assert client.read_response().body == b"done a"
        ask(server, "/quiet")
    line = r"\[error\].*wsgi: a handler of ngx_reactor raised .*" + re.escape(RAISED[kind])
    lines = server.wait_for_log(line, count=2)
    assert len(lines) == 2
    assert server.log_lines(r'wsgi:   File "\S+/app\.py", line \d+, in fail')
    assert server.worker == worker


def test_an_event_stays(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/again")
        wait_notes(server, "called", 5)
        assert len(settled(lambda: notes(server), quiet=0.1)) == 5
        ask(server, "/quiet")
    assert len(server.log_lines("a handler of ngx_reactor raised ValueError: again")) == 5


def test_causes_are_in_the_log(nginx):
    server = serve(nginx, APP)
    ask(server, "/chain")
    server.wait_for_log("a handler of ngx_reactor raised .*Own: chained")
    server.wait_for_log("KeyError: 'missing'")
    server.wait_for_log("direct cause")


def test_an_exception_that_cannot_be_shown(nginx):
    server = serve(nginx, APP)
    ask(server, "/unprintable")
    wait_notes(server, "next")
    server.wait_for_log("a handler of ngx_reactor raised")


def test_wrong_arguments(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/arguments")
        server.wait_for_log("a handler of ngx_reactor raised TypeError", count=3)
        ask(server, "/quiet")
    assert notes(server) == []


def test_sys_exit(nginx):
    server = serve(nginx, APP)
    worker = server.worker
    ask(server, "/exit")
    wait_notes(server, "next")
    server.wait_for_log("a handler of ngx_reactor raised SystemExit")
    assert server.get("/hello").body == b"hello" and server.worker == worker
