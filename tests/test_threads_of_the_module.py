"""What a thread of the module must have in common with one that Python makes, and what it must not hold up."""

import contextlib

import pytest
from harness.apps import notes
from harness.http import Truncated
from harness.nginx import wait_for
from harness.threads import serve

pytestmark = pytest.mark.once


@pytest.mark.parametrize("page", ["return 200 page;", "wsgi_pass app.py;", "return 444;"])
def test_a_filter_that_ends_the_request_inside_a_call(nginx, page):
    """412 by nginx's own filter, while the thread waits for its first block to be taken."""
    server = serve(nginx, """
    def at_thing(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("ETag", '"v2"')])
        yield b"thing" * 20000

    def at_page(environ, start_response):
        return answer(start_response, b"page")
    """, server=f"""
        location / {{ wsgi_threads 4; wsgi_pass app.py; error_page 412 = /page; }}
        location = /page {{ {page} }}
    """)
    worker = server.worker
    for _ in range(5):
        # What the client sees is nginx's to decide; it compares If-Match with the error page as well.
        with contextlib.suppress(Truncated):
            assert server.get("/thing", [("If-Match", '"v1"')]).status in (200, 412)
        assert server.get("/hello").body == b"hello"
    assert server.worker == worker


def test_large_blocks_do_not_wait_for_the_next_request(nginx):
    server = serve(nginx, """
    class Block(bytes):
        def __del__(self):
            note("freed")

    def at_big(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [Block(b"x" * 3_000_000)]
    """)
    for count in range(1, 6):
        assert len(server.get("/big").body) == 3_000_000
        wait_for(lambda: len(notes(server, "freed")) == count, lambda: f"{notes(server)} of {count}")


def test_recursion_has_as_much_room_as_in_a_thread_of_python(nginx):
    server = serve(nginx, """
    import sys

    def deep(n=0):
        return sorted([1, 2], key=lambda x: deep(n + 1))

    def at_deep(environ, start_response):
        sys.setrecursionlimit(4000)
        try:
            deep()
        except RecursionError:
            return answer(start_response, b"RecursionError")
    """)
    assert server.get("/deep").body == b"RecursionError"


def test_lines_of_a_body_that_arrives_are_not_fetched_byte_by_byte(nginx):
    server = serve(nginx, """
    import time

    def at_lines(environ, start_response):
        environ["wsgi.input"].read(1)
        begun = time.thread_time()
        lines = sum(1 for line in environ["wsgi.input"])
        return answer(start_response, f"{lines} {time.thread_time() - begun}".encode())
    """, more="wsgi_request_buffering off; client_max_body_size 100m;")
    body = (b"x" * 79 + b"\n") * 12500
    lines, seconds = server.post("/lines", body).text.split()
    assert int(lines) == 12500
    # Byte by byte it is a hundred times as many hand-overs as lines, and takes seconds.
    assert float(seconds) < 2


def test_after_a_post_action_the_client_may_leave(nginx):
    server = serve(nginx, """
    def at_post(environ, start_response):
        note("posted")
        return answer(start_response, b"")
    """, server="""
        location = /go { post_action /post; return 200 done; }
        location / { wsgi_threads 2; wsgi_pass app.py; }
    """)
    for count in range(1, 6):
        assert server.get("/go").body == b"done"
        wait_for(lambda: len(notes(server, "posted")) == count, lambda: f"{notes(server)} of {count}")
