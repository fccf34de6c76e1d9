"""Everything at once, at random: requests that wait for all sorts of things, clients that leave, handlers that come and
go. Afterwards the worker has what it had before, and every request has come to its end once."""

import contextlib
import random
import threading

import pytest

from harness.apps import notes, wait_notes
from harness.http import Truncated
from harness.nginx import wait_for
from harness.reactor import ask, serve
from harness.waiting import nothing_left

pytestmark = pytest.mark.inline_only

APP = """
    import itertools
    import random

    numbers = itertools.count()

    def one_wait(environ, name, choose):
        # Asks for something that ends soon, by itself or by another request.
        kind = choose.choice(["sleep", "suspend", "thread", "readable", "writable", "time", "poll", "several", "flush"])
        if kind == "sleep":
            environ["ngx.sleep"](choose.randrange(20))
        elif kind == "suspend":
            resumes[name] = environ["x-wsgiorg.suspend"](choose.choice([5, 20, 100]))
        elif kind == "thread":
            threading.Timer(choose.random() / 50, environ["wsgi.pause_output"]()).start()
        elif kind == "readable":
            end = pairs[name][1]
            add_timer(lambda: end.send(b"x") if end.fileno() >= 0 else None, choose.randrange(10))
            environ["x-wsgiorg.fdevent.readable"](pairs[name][0], choose.choice([None, 0.005, 0.1]))
        elif kind == "writable":
            environ["x-wsgiorg.fdevent.writable"](pairs[name][0])
        elif kind == "time":
            environ["x-wsgiorg.fdevent.readable"](pairs[name][0], choose.choice([0, 0.001, 0.01]))
        elif kind == "poll":
            conn = environ["ngx.connection_wrapper"](pairs[name][choose.randrange(2)])
            environ["ngx.poll_register"](conn, choose.choice([1, 4, 5]))
            environ["ngx.poll"](choose.randrange(10))
            environ["ngx.poll_unregister"](conn)
        elif kind == "several":
            resumes[name] = environ["x-wsgiorg.suspend"]()
            environ["x-wsgiorg.fdevent.readable"](pairs[name][0], 0.01)
            environ["ngx.sleep"](choose.randrange(30))
        else:
            environ["x-wsgiorg.flush"]()
        return b""

    def at_random(environ, start_response):
        choose = random.Random(int(environ["QUERY_STRING"]))
        name = f"n{next(numbers)}"
        write = start_response("200 OK", PLAIN)
        pair(name)
        note("begins")
        def blocks():
            try:
                for _ in range(choose.randrange(12)):
                    what = choose.randrange(10)
                    if what < 6:
                        yield one_wait(environ, name, choose)
                    elif what < 8:
                        yield b"x" * choose.choice([1, 100, 5000, 70_000])
                    elif what < 9:
                        write(b"y" * choose.choice([1, 1000]))
                    else:
                        yield b""
                    for other in choose.sample(list(resumes), min(2, len(resumes))):
                        resumes[other]()
                yield b"end"
            finally:
                resumes.pop(name, None)
                part(name)
                note("finally")
        return blocks()

    def at_events(environ, start_response):
        # Handlers that live for a moment.
        choose = random.Random(int(environ["QUERY_STRING"]))
        for _ in range(5):
            name = f"e{next(numbers)}"
            def handler(found, name=name):
                if choose.random() < 0.5:
                    quiet(name)
                else:
                    found.arg.recv(1)
                    pairs[name][1].send(b"x")
            end = pair(name)
            events[name] = create_event(end, handler, end)
            add_event(events[name], NGX_READ_EVENT)
            pairs[name][1].send(b"x")
            post(lambda: None)
        return answer(start_response, None)

    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [f'[<!--#include virtual="/random?{environ["QUERY_STRING"]}" -->'
                f'<!--#include virtual="/random?{environ["QUERY_STRING"]}1" -->]'.encode()]
    """
SSI = "location / { ssi on; wsgi_pass app.py; }"


def plain(server, choose, turns):
    for _ in range(turns):
        client = server.connect(tls=choose.random() < 0.3)
        target = choose.choice(["/random", "/random", "/page", "/events"])
        method = choose.choice(["GET", "GET", "HEAD"]) if target == "/random" else "GET"
        client.send_request(method, f"{target}?{choose.randrange(10 ** 6)}")
        if choose.random() < 0.3:
            client.sock.settimeout(choose.random() / 20)
            with contextlib.suppress(TimeoutError):
                client.fill()
        else:
            client.send_request("GET", "/hello", [("Connection", "close")])
            assert client.read_rest().endswith(b"hello")
        client.reset() if choose.random() < 0.5 else client.close()


def streams(server, choose, turns):
    for _ in range(turns // 4):
        client = server.h2(hold=choose.random() < 0.2)
        made = [client.send_request("GET", f"{choose.choice(['/random', '/page'])}?{choose.randrange(10 ** 6)}")
                for _ in range(8)]
        left = [stream for stream in made if choose.random() < 0.7]
        for stream in made:
            if stream not in left:
                client.reset(stream)
        if choose.random() < 0.6 and not client.hold:
            client.finish(*left)
            assert all(stream.body.endswith((b"end", b"]")) for stream in left)
        else:
            client.quiet(choose.random() / 20)
        client.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_mixture(nginx, seed):
    server = serve(nginx, APP, SSI, tls=True, h2c=True, level="notice", http="send_timeout 5s;")
    failed = []

    def run(function, number):
        try:
            function(server, random.Random(seed * 100 + number), 30)
        except (Truncated, OSError, AssertionError) as error:
            failed.append(error)
    with nothing_left(server):
        threads = [threading.Thread(target=run, args=[function, number])
                   for number, function in enumerate([plain, plain, plain, streams, streams])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed
        wait_for(lambda: len(notes(server, "begins")) == len(notes(server, "finally")), "all have ended")
        ask(server, "/quiet")
    assert wait_notes(server, "finally")
    assert not server.log_lines(r"\[(error|crit|alert|emerg)\]"), server.log_lines(r"\[error\]")[:5]
