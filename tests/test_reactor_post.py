"""ngx_reactor.post: from any thread, soon, in nginx's thread, and nobody starves."""

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.nginx import cpu
from harness.reactor import ask, serve
from harness.waiting import nothing_left

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    def at_post(environ, start_response):
        post(lambda: note("posted", threading.current_thread().name))
        note("in the slice")
        return answer(start_response, None)

    def at_order(environ, start_response):
        for number in range(20):
            post(lambda number=number: note("posted", number))
        return answer(start_response, None)

    def at_thread(environ, start_response):
        here = threading.get_ident()
        def run():
            post(lambda: note("posted", threading.get_ident() == here))
        threading.Thread(target=run).start()
        return answer(start_response, None)

    def at_load(environ, start_response):
        # From eight threads, a thousand each.
        called = []
        def run(number):
            for turn in range(1000):
                post(lambda: called.append((number, turn)) or (note("all") if len(called) == 8000 else None))
        threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        return answer(start_response, None)

    def at_in_order(environ, start_response):
        # What one thread posts is called in its order.
        called = []
        def run():
            for turn in range(2000):
                post(lambda turn=turn: called.append(turn))
            post(lambda: note("in order", called == list(range(2000))))
        threading.Thread(target=run).start()
        return answer(start_response, None)

    def at_again(environ, start_response):
        # Posts itself for ever, or until the test says otherwise.
        def again():
            counts["again"] += 1
            if not over:
                post(again)
        over.clear()
        again()
        return answer(start_response, None)

    import collections

    counts, over = collections.Counter(), []

    def at_over(environ, start_response):
        over.append(1)
        return answer(start_response, counts["again"])

    def at_flood(environ, start_response):
        # A thread that does nothing but post, until the test says otherwise.
        def run():
            while not over:
                post(lambda: counts.update(again=1))
                time.sleep(0)
        over.clear()
        threading.Thread(target=run).start()
        return answer(start_response, None)

    def at_wakes(environ, start_response):
        # The loop sleeps: the post of a thread wakes it at once, not only when a timer or a client does.
        def run():
            block_until_there("go")
            post(lambda: note("woken"))
        threading.Thread(target=run).start()
        return answer(start_response, None)

    def at_refused(environ, start_response):
        return answer(start_response, [raised(post, None), raised(post), raised(post, print, 1)])

    def at_returns(environ, start_response):
        return answer(start_response, post(lambda: "ignored"))

    def at_bound(environ, start_response):
        class Owner:
            def method(self):
                note("method")
            def __del__(self):
                note("gone")
        post(Owner().method)
        return answer(start_response, None)
    """
STATIC = "location / { wsgi_pass app.py; } location /static/ { alias %%FOLDER%%/; }"


def test_after_the_slice(nginx):
    server = serve(nginx, APP)
    ask(server, "/post")
    wait_notes(server, "posted")
    assert notes(server) == ["in the slice", "posted MainThread"]


def test_in_their_order(nginx):
    server = serve(nginx, APP)
    ask(server, "/order")
    assert wait_notes(server, "posted", 20) == [f"posted {number}" for number in range(20)]


def test_from_a_thread(nginx):
    server = serve(nginx, APP)
    ask(server, "/thread")
    assert wait_notes(server, "posted") == ["posted True"]


def test_from_many_threads(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        ask(server, "/load")
        wait_notes(server, "all")
        ask(server, "/in_order")
        assert wait_notes(server, "in order") == ["in order True"]


@pytest.mark.parametrize("target", ["/again", "/flood"])
def test_nobody_starves(nginx, target):
    server = serve(nginx, APP, STATIC)
    (server.folder / "file").write_text("static")
    with nothing_left(server):
        ask(server, target)
        for _ in range(50):
            assert server.get("/static/file").body == b"static"
        assert server.get("/hello").body == b"hello"
        assert ask(server, "/over") > 0
        count = settled(lambda: ask(server, "/over"), quiet=0.1)
        assert count == ask(server, "/over")
        used = cpu(server.worker)
        settled(lambda: 0, quiet=0.3)
        assert cpu(server.worker) - used < 0.2


def test_it_wakes_the_loop(nginx):
    server = serve(nginx, APP)
    ask(server, "/wakes")
    assert settled(lambda: notes(server)) == []
    touch(server, "go")
    assert wait_notes(server, "woken", timeout=5) == ["woken"]


def test_arguments(nginx):
    server = serve(nginx, APP)
    assert ask(server, "/refused") == ["TypeError"] * 3
    assert ask(server, "/returns") is None


def test_what_was_posted_goes(nginx):
    server = serve(nginx, APP)
    ask(server, "/bound")
    wait_notes(server, "gone")
    assert notes(server) == ["method", "gone"]
