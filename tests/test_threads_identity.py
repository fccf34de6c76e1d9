"""One thread keeps one request until its iterable is closed; thread-locals are those of a threaded server."""

import pytest

from harness.apps import notes, touch, wait_notes
from harness.threads import ask, serve

pytestmark = pytest.mark.once


def test_call_next_and_close_are_in_one_thread(nginx):
    server = serve(nginx, """
        class Traced:
            def __init__(self):
                self.seen = [threading.get_ident()]
                self.left = 20

            def __iter__(self):
                self.seen.append(threading.get_ident())
                return self

            def __next__(self):
                self.seen.append(threading.get_ident())
                self.left -= 1
                if not self.left:
                    raise StopIteration
                return b"x" * 100_000 if self.left % 2 else b""

            def close(self):
                self.seen.append(threading.get_ident())
                note("close", len(self.seen), len(set(self.seen)), self.seen[0])

        def at_traced(environ, start_response):
            start_response("200 OK", PLAIN)
            return Traced()
        """, threads=3)
    clients = [server.connect(rcvbuf=4096) for _ in range(6)]
    for client in clients:
        client.send_request("GET", "/traced")
    for client in clients:
        assert len(client.read_response().body) == 1_000_000
    found = [line.split() for line in wait_notes(server, "close", 6)]
    assert [each[1:3] for each in found] == [["23", "1"]] * 6
    assert 1 < len({each[3] for each in found}) <= 3


def test_a_generator_meets_its_context_variables_and_its_thread_locals(nginx):
    server = serve(nginx, """
        import contextvars

        var = contextvars.ContextVar("var", default=None)
        local = threading.local()

        def at_generator(environ, start_response):
            name = environ["QUERY_STRING"]
            assert var.get() is None
            var.set(name)
            local.name = name
            start_response("200 OK", PLAIN)
            try:
                for number in range(10):
                    assert var.get() == local.name == name
                    yield name.encode() * 30_000
                    var.set(name)
            finally:
                note("finally", var.get() == local.name == name)
        """, threads=4)
    clients = [server.connect(rcvbuf=4096) for _ in range(8)]
    for number, client in enumerate(clients):
        client.send_request("GET", f"/generator?{number}")
    for number, client in enumerate(clients):
        assert client.read_response().body == b"%d" % number * 300_000
    assert wait_notes(server, "finally", 8) == ["finally True"] * 8


def test_context_variables_of_one_request_are_not_the_next_ones(nginx):
    server = serve(nginx, """
        import contextvars

        var = contextvars.ContextVar("var", default="unset")

        def at_set(environ, start_response):
            before = var.get()
            var.set(environ["QUERY_STRING"])
            return answer(start_response, before)
        """, threads=1)
    assert [server.get(f"/set?{number}").json() for number in range(4)] == ["unset"] * 4


def test_thread_locals_persist_in_a_thread_and_are_not_shared(nginx):
    server = serve(nginx, """
        local = threading.local()
        barrier = threading.Barrier(3)

        def at_local(environ, start_response):
            barrier.wait(20)
            local.count = getattr(local, "count", 0) + 1
            return answer(start_response, [threading.get_ident(), local.count])
        """, threads=3)
    counts = {}
    for turn in range(1, 5):
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            client.send_request("GET", "/local")
        found = [client.read_response().json() for client in clients]
        assert [count for _, count in found] == [turn] * 3
        counts.update(found)
    assert list(counts.values()) == [4] * 3


def test_threads_are_those_of_any_threaded_server(nginx):
    server = serve(nginx, """
        import logging
        import signal

        def at_thread(environ, start_response):
            thread = threading.current_thread()
            record = logging.LogRecord("x", 20, "x", 1, "x", (), None)
            again = threading.current_thread()
            return answer(start_response, [
                thread is again, thread is threading.main_thread(), thread.ident == threading.get_ident(),
                bool(thread.name), record.threadName == thread.name, threading.main_thread().is_alive(),
                raised(signal.signal, signal.SIGUSR1, signal.SIG_DFL) in (None, "ValueError"),
                threading.get_native_id() != os.getpid()])
        """)
    for _ in range(4):
        assert server.get("/thread").json() == [True, False, True, True, True, True, True, True]


@pytest.mark.parametrize("threads, multi", [(0, False), (1, True), (4, True)])
def test_wsgi_multithread(nginx, threads, multi):
    server = serve(nginx, """
        def at_multi(environ, start_response):
            return answer(start_response, [environ["wsgi.multithread"], environ["wsgi.multiprocess"],
                                           environ["wsgi.run_once"]])
        """, threads=threads)
    assert server.get("/multi").json() == [multi, False, False]


def test_a_thread_is_free_as_soon_as_a_small_list_is_returned(nginx):
    """The rest is between nginx and the client."""
    server = serve(nginx, """
        def at_small(environ, start_response):
            start_response("200 OK", PLAIN)
            return [b"a" * 30_000, b"", b"b" * 30_000]
        """, server="sendfile off; wsgi_threads 1; location / { limit_rate 1000; wsgi_pass app.py; }"
                    " location /hello { wsgi_pass app.py; wsgi_script_name \"\"; }")
    client = server.connect()
    client.send_request("GET", "/small")
    client.read_head()
    assert server.get("/hello").body == b"hello"
    client.reset()


def test_a_request_in_a_thread_does_not_hold_its_connection_from_others(nginx):
    """Pipelined requests of one connection come one after the other."""
    server = serve(nginx)
    client = server.connect()
    client.send(b"GET /wait?go HTTP/1.1\r\nHost: a\r\n\r\nGET /hello?second HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_notes(server, "wait")
    other = ask(server, "/hello?other")
    assert other.read_response().body == b"hello"
    assert notes(server, "hello") == ["hello other"]
    touch(server, "go")
    assert [client.read_response().body for _ in range(2)] == [b"go", b"hello"]
