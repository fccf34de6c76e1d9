"""write(): alone, mixed, over HTTP/1 with slow and vanished readers, its limits and its misuse."""

import time

import pytest

from harness.apps import in_kernel, notes, serve, settled, wait_notes
from harness.http import Truncated
from harness.nginx import THREADS


def test_write_alone_and_mixed(nginx):
    server = serve(nginx, """
        def at_alone(environ, start_response):
            write = start_response("200 OK", PLAIN)
            for number in range(100):
                write(b"%d," % number)
            return []

        def at_list(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"one ")
            return [b"two ", b"three"]

        def at_iterator(environ, start_response):
            start_response("200 OK", PLAIN)(b"one ")
            return Body(b"", b"two ", b"three")

        def at_length(environ, start_response):
            write = start_response("200 OK", [("Content-Length", "11")])
            write(b"hello ")
            return [b"world"]

        def at_inside(environ, start_response):
            write = start_response("200 OK", PLAIN)
            yield b"one "
            write(b"two ")
            yield b"three "
            write(b"four")
        """)
    client = server.connect()
    assert client.request("GET", "/alone").body == b"".join(b"%d," % number for number in range(100))
    for target in ("/list", "/iterator"):
        assert client.request("GET", target).body == b"one two three"
    answer = client.request("GET", "/length")
    assert (answer.header("Content-Length"), answer.chunked, answer.body) == ("11", False, b"hello world")
    assert client.request("GET", "/inside").body == b"one two three four"
    answer = server.connect().request("GET", "/list", version="1.0")
    assert answer.header("Content-Length") is None and answer.body == b"one two three"


def test_each_write_is_a_block_of_its_own_on_the_wire(nginx):
    server = serve(nginx, """
        def at_steps(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"first")
            block_until_there("go")
            write(b"second")
            return []
        """)
    client = server.connect()
    client.send_request("GET", "/steps")
    head = client.read_head()
    assert client.read_chunk(head) == b"first"
    (server.folder / "go").touch()
    assert [client.read_chunk(head), client.read_chunk(head)] == [b"second", b""]


def test_a_slow_reader_makes_write_wait(nginx):
    size, count = 200_000, 100
    server = serve(nginx, f"""
        def at_big(environ, start_response):
            write = start_response("200 OK", PLAIN)
            for number in range({count}):
                write(b"%03d" % number + b"x" * {size - 3})
                note("written", number)
            return []
        """, http="wsgi_block_warning off;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    wait_notes(server, "written")
    written = settled(lambda: len(notes(server, "written")))
    assert written < count
    # What write() has returned for is with the kernel, and it has not been asked for more.
    assert written * size <= in_kernel(client) <= (written + 1) * size + 4096
    answer = client.read_response()
    assert len(answer.body) == size * count
    assert [answer.body[at:at + 3] for at in range(0, size * count, size)] == [b"%03d" % n for n in range(count)]
    if not THREADS:
        server.wait_for_log("calls write\\(\\), which blocks the event loop while a client reads slowly")
    client.request("GET", "/big")
    assert len(server.log_lines("calls write\\(\\)")) == (0 if THREADS else 1)


def test_a_reader_that_never_reads_is_an_oserror_after_send_timeout(nginx):
    server = serve(nginx, """
        def at_stuck(environ, start_response):
            write = start_response("200 OK", PLAIN)
            begin = time.monotonic()
            try:
                while True:
                    begin = time.monotonic()
                    write(b"x" * 100000)
            except OSError as error:
                note("raised", isinstance(error, OSError), time.monotonic() - begin)
                try:
                    write(b"more")
                except OSError:
                    note("again OSError")
            return Body(b"never")

        def at_next(environ, start_response):
            return answer(start_response, b"next")
        """, "send_timeout 300ms; location / { wsgi_pass app.py; }", http="wsgi_block_warning off;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/stuck")
    (note,) = wait_notes(server, "raised True")
    assert float(note.split()[2]) > 0.25
    wait_notes(server, "again OSError")
    wait_notes(server, "close")
    assert server.get("/next").body == b"next"
    with pytest.raises(Truncated):
        client.read_response()


def test_a_reader_that_leaves_is_an_oserror(nginx):
    server = serve(nginx, """
        def at_leave(environ, start_response):
            write = start_response("200 OK", PLAIN)
            note("started")
            try:
                for _ in range(100000):
                    write(b"x" * 100000)
            except OSError as error:
                note("raised")
            return []
        """, http="wsgi_block_warning off;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/leave")
    client.read_head()
    wait_notes(server, "started")
    client.reset()
    wait_notes(server, "raised")


def test_an_uncaught_oserror_of_write_ends_the_request_only(nginx):
    server = serve(nginx, """
        def at_leave(environ, start_response):
            write = start_response("200 OK", PLAIN)
            note("started")
            while True:
                write(b"x" * 100000)

        def at_next(environ, start_response):
            return answer(start_response, b"next")
        """, http="wsgi_block_warning off;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/leave")
    wait_notes(server, "started")
    client.reset()
    assert server.get("/next").body == b"next"


def test_write_past_content_length_raises(nginx):
    server = serve(nginx, """
        def at_more(environ, start_response):
            write = start_response("200 OK", [("Content-Length", "10")])
            write(b"01234")
            # What still fits may be sent; what does not is an error.
            note(raised(write, b"56789 and more"))
            note(raised(write, b"x"), raised(write, b""))
            return []

        def at_uncaught(environ, start_response):
            write = start_response("200 OK", [("Content-Length", "3")])
            write(b"abcdef")
            return []
        """)
    client = server.connect()
    answer = client.request("GET", "/more")
    assert (answer.header("Content-Length"), answer.body) == ("10", b"0123456789")
    # The client has all that it waits for before the application has come to its end.
    assert wait_notes(server, "ValueError", 2) == ["ValueError", "ValueError None"]
    answer = server.get("/uncaught")
    assert answer.status == 500 or (answer.header("Content-Length"), answer.body) == ("3", b"abc")
    server.wait_for_log("raised ValueError")


def test_write_after_the_end_raises(nginx):
    server = serve(nginx, """
        kept = []

        class Late(Body):
            def close(self):
                note("in close", raised(kept[-1], b"late"))

        def at_keep(environ, start_response):
            kept.append(start_response("200 OK", PLAIN))
            return Late(b"body")

        def at_use(environ, start_response):
            return answer(start_response, [raised(kept[-1], b"late"), raised(kept[-1], b"")])
        """)
    client = server.connect()
    answer = client.request("GET", "/keep")
    assert (answer.body, answer.complete) == (b"body", True)
    assert client.request("GET", "/use").json() == ["RuntimeError"] * 2
    assert notes(server) == ["end body", "in close RuntimeError"]


def test_start_response_after_the_end_raises(nginx):
    server = serve(nginx, """
        kept = []

        def at_keep(environ, start_response):
            kept.append(start_response)
            return answer(start_response, b"kept")

        def at_use(environ, start_response):
            return answer(start_response, [raised(kept[-1], "200 OK", []), refused(kept[-1], "200 OK", [])])
        """)
    client = server.connect()
    assert client.request("GET", "/keep").body == b"kept"
    first, second = client.request("GET", "/use").json()
    assert first == "RuntimeError" and second == "RuntimeError"


@pytest.mark.parametrize("method, status", [("HEAD", "200 OK"), ("GET", "204 None"), ("GET", "304 Same")])
def test_write_without_a_body_to_send(nginx, method, status):
    server = serve(nginx, """
        def at_none(environ, start_response):
            write = start_response(environ["QUERY_STRING"].replace("+", " "), [])
            write(b"forbidden")
            write(b"forbidden")
            note("written")
            return []
        """)
    client = server.connect()
    for _ in range(2):
        assert client.request(method, "/none?" + status.replace(" ", "+")).status == int(status[:3])
    wait_notes(server, "written", 2)


def test_write_over_tls(nginx):
    server = serve(nginx, """
        def at_big(environ, start_response):
            write = start_response("200 OK", PLAIN)
            for number in range(200):
                write(b"%06d" % number * 10000)
            return [b"end"]
        """, tls=True, http="wsgi_block_warning off;")
    client = server.connect(tls=True, rcvbuf=4096)
    client.send_request("GET", "/big")
    time.sleep(0.05)
    answer = client.read_response()
    assert answer.body == b"".join(b"%06d" % number * 10000 for number in range(200)) + b"end"


def test_write_from_a_subrequest_comes_in_its_place(nginx):
    server = serve(nginx, """
        def at_page(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            return [b'[<!--#include virtual="/slow" -->|<!--#include virtual="/fast" -->]']

        def at_slow(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/html")])
            for number in range(50):
                write(b"s" * 10000)
            return Body(b"", b"S")

        def at_fast(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/html")])
            write(b"f" * 100000)
            return [b"F"]
        """, "location / { wsgi_pass app.py; ssi on; }", tls=True, h2c=True)
    wanted = b"[" + b"s" * 500_000 + b"S|" + b"f" * 100_000 + b"F]"
    client = server.connect()
    assert client.request("GET", "/page").body == wanted
    assert server.get("/page", tls=True).body == wanted
    assert server.h2().request("GET", "/page").body == wanted
    slow = server.connect(rcvbuf=4096)
    slow.send_request("GET", "/page")
    assert client.request("GET", "/fast").body == b"f" * 100_000 + b"F"
    assert slow.read_response().body == wanted


def test_write_inside_the_iteration_of_a_response_without_a_body(nginx):
    server = serve(nginx, """
        def at_late(environ, start_response):
            def blocks():
                write = start_response("204 None" if environ["QUERY_STRING"] else "200 OK", [])
                write(b"written")
                yield b"yielded"
                yield b"more"
            return blocks()
        """)
    for request in (b"HEAD /late", b"GET /late?204%20None"):
        client = server.connect()
        client.send(request + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = client.read_rest()
        assert answer.startswith(b"HTTP/1.1 20") and answer.endswith(b"\r\n\r\n"), answer
