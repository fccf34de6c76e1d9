"""close() of an iterable from a thread: exactly once, in the thread that ran the request, at every kind of end."""

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.http import Truncated
from harness.nginx import wait_for
from harness.threads import serve

pytestmark = pytest.mark.once

APP = """
    class Traced:
        def __init__(self, *items):
            self.items = iter(items)
            self.ident = threading.get_ident()

        def __iter__(self):
            return self

        def __next__(self):
            item = next(self.items)
            return item() if callable(item) else item

        def close(self):
            note("close", threading.get_ident() == self.ident)

        def __del__(self):
            note("gone")

    def boom():
        raise ValueError("boom")

    def start(start_response):
        start_response("200 OK", PLAIN)

    def at_normal(environ, start_response):
        start(start_response)
        return Traced(b"one", b"", b"two")

    def at_empty(environ, start_response):
        start(start_response)
        return Traced()

    def at_fails(environ, start_response):
        start(start_response)
        return Traced(*[b"x" * 1000] * int(environ["QUERY_STRING"]), boom)

    def at_big(environ, start_response):
        start(start_response)
        return Traced(*[b"x" * 100_000] * 80)

    def at_unstarted(environ, start_response):
        return Traced(b"one")

    def at_wrong(environ, start_response):
        start(start_response)
        return Traced(b"one", "text")

    def at_slow(environ, start_response):
        start(start_response)
        def waits():
            note("waits")
            block_until_there("go")
            return b"second"
        return Traced(b"first", waits, b"third")

    def at_long(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return Traced(b"one", b"two", b"three")

    def at_short(environ, start_response):
        start_response("200 OK", [("Content-Length", "100")])
        return Traced(b"one", b"two", b"three")

    def at_fails_to_close(environ, start_response):
        start(start_response)
        class Failing(Traced):
            def close(self):
                super().close()
                raise ValueError("close fails")
        return Failing(b"one")

    def at_status(environ, start_response):
        start_response(environ["QUERY_STRING"] + " Status", [])
        return Traced(b"one", b"two")

    def at_file(environ, start_response):
        start(start_response)
        class File(Traced):
            def read(self, size=-1):
                return next(self.items, b"")
        return environ["wsgi.file_wrapper"](File(b"one", b"two"), 1000)

    def at_redirect(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/ok")])
        return Traced(b"x" * 100_000, b"y" * 100_000)
    """


def closed_once(server):
    assert wait_notes(server, "close") == ["close True"], server.tail()
    # Another request to each thread, so that a second close() would have had its time.
    for _ in range(3):
        assert server.get("/hello").body == b"hello"
    wait_notes(server, "gone")
    assert notes(server, "close") == ["close True"] and notes(server, "gone") == ["gone"]


@pytest.mark.parametrize("target", ["/normal", "/empty", "/long", "/status?204", "/status?304", "/file", "/redirect",
                                    "/fails_to_close"])
@pytest.mark.parametrize("how", ["GET", "HEAD", "1.0", "h2"])
def test_answers(nginx, target, how):
    server = serve(nginx, APP, h2c=True)
    if how == "h2":
        assert server.h2().request("GET", target).complete
    else:
        options = {"version": "1.0"} if how == "1.0" else {}
        assert server.request("HEAD" if how == "HEAD" else "GET", target, **options).status in (200, 204, 304)
    closed_once(server)


@pytest.mark.parametrize("target", ["/fails?0", "/unstarted"])
def test_errors_before_the_head(nginx, target):
    server = serve(nginx, APP)
    assert server.get(target).status == 500
    closed_once(server)


@pytest.mark.parametrize("target", ["/fails?1", "/fails?500", "/wrong", "/short"])
@pytest.mark.parametrize("http2", [False, True])
def test_errors_after_the_head(nginx, target, http2):
    server = serve(nginx, APP, h2c=True)
    if http2:
        stream = server.h2().request("GET", target)
        assert stream.status == 200 and stream.reset is not None
    else:
        with pytest.raises(Truncated):
            server.get(target)
    closed_once(server)


@pytest.mark.parametrize("how", ["reset", "close", "tls", "stream", "h2 gone"])
def test_a_client_that_leaves_while_it_is_sent_to(nginx, how):
    server = serve(nginx, APP, tls=True, h2c=True)
    if how in ("stream", "h2 gone"):
        client = server.h2(hold=True)
        stream = client.send_request("GET", "/big")
        client.wait(lambda: len(stream.body) >= 65535, "a full window")
        client.reset(stream) if how == "stream" else client.close()
    else:
        client = server.connect(rcvbuf=4096, tls=how == "tls")
        client.send_request("GET", "/big")
        client.read_head()
        assert settled(lambda: notes(server, "close")) == []
        client.reset() if how == "reset" else client.close()
    closed_once(server)


def test_a_client_that_leaves_while_the_application_runs(nginx):
    server = serve(nginx, APP)
    client = server.connect()
    client.send_request("GET", "/slow")
    client.read_head()
    wait_notes(server, "waits")
    client.reset()
    # The thread is Python's until it comes back.
    assert settled(lambda: notes(server, "close")) == []
    touch(server, "go")
    closed_once(server)


def test_send_timeout(nginx):
    server = serve(nginx, APP, http="send_timeout 200ms;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    closed_once(server)
    client.close()


@pytest.mark.parametrize("signal", ["QUIT", "TERM", "HUP"])
def test_the_end_of_the_worker(nginx, signal):
    server = serve(nginx, APP, check_connections=False, check_fds=False, allow=["open socket left"])
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    head = client.read_head()
    settled(lambda: server.status()["writing"])
    server.hup(wait_old=False) if signal == "HUP" else server.signal(signal)
    if signal != "TERM":
        client.read_body(head)
        assert len(head.body) == 8_000_000
    if signal == "HUP":
        closed_once(server)
        return
    assert server.wait_exit() == 0
    assert notes(server, "close") == ["close True"]


def test_a_generator_ends_in_its_context(nginx):
    server = serve(nginx, """
        import contextvars

        var = contextvars.ContextVar("var", default="unset")

        def at_generator(environ, start_response):
            start_response("200 OK", PLAIN)
            ident = threading.get_ident()
            def blocks():
                try:
                    while True:
                        yield b"x" * 100_000
                finally:
                    note("finally", var.get(), threading.get_ident() == ident, environ["wsgi.input"].read())
                    print("a last word", file=environ["wsgi.errors"])
            var.set("set")
            return blocks()
        """)
    client = server.connect(rcvbuf=4096)
    client.send_request("POST", "/generator", body=b"body")
    client.read_head()
    client.reset()
    assert wait_notes(server, "finally") == ["finally set True b'body'"]
    server.wait_for_log("a last word")


def test_many_requests_close_as_often(nginx):
    server = serve(nginx, """
        import collections

        lock = threading.Lock()
        counts = collections.Counter()

        def count(name):
            with lock:
                counts[name] += 1

        class Counting:
            def __init__(self, *items):
                count("made")
                self.items = iter(items)
                self.ident = threading.get_ident()

            def __iter__(self):
                return self.items

            def close(self):
                count("closed" if threading.get_ident() == self.ident else "elsewhere")

            def __del__(self):
                count("freed")

        def at_counting(environ, start_response):
            start_response("200 OK", PLAIN)
            return Counting(*[b"x" * 1000] * int(environ["QUERY_STRING"]))

        def at_counts(environ, start_response):
            return answer(start_response, dict(counts))
        """, threads=4, h2c=True)
    client, h2 = server.connect(), server.h2()
    for _ in range(10):
        client.send(b"".join(b"%b /counting?%d HTTP/1.1\r\nHost: a\r\n\r\n" % (method, size)
                             for method in (b"GET", b"HEAD") for size in (0, 1, 10)))
        streams = [h2.send_request("GET", f"/counting?{size}") for size in (0, 1, 10)]
        for method in ("GET", "HEAD"):
            for _ in range(3):
                assert client.read_response(method).status == 200
        h2.finish(*streams)
    for _ in range(10):
        gone = server.connect()
        gone.send_request("GET", "/counting?500")
        gone.reset()
    wait_for(lambda: server.status()["writing"] == 1, "all are over")
    found = wait_for(lambda: (counts := server.get("/counts").json()) and counts.get("made") == counts.get("freed")
                     and counts, "all are freed")
    assert found["closed"] == found["made"] and 90 <= found["made"] <= 100 and "elsewhere" not in found
