"""Python that holds the event loop outside of a request is reported, as an application that does is."""

import pytest

from harness.apps import serve, wait_notes

pytestmark = pytest.mark.once

APP = """
import asyncio
import ngx_reactor
from ngx_wsgi.asyncio import get_loop

get_loop()

def block():
    note("blocks")
    time.sleep(0.15)
    note("done")

def at_post(environ, start_response):
    ngx_reactor.post(block)
    return answer(start_response, b"posted")

def at_nothing(environ, start_response):
    return answer(start_response, b"nothing")

def at_task(environ, start_response):
    get_loop().call_soon(block)
    return answer(start_response, b"posted")
"""
HELD = r"\[warn\].*held the event loop for \d+ ms.*wsgi_block_warning"


@pytest.mark.parametrize("path", ["/post", "/task"])
def test_said_once(nginx, path):
    server = serve(nginx, APP)
    for count in (1, 2):
        assert server.get(path).body == b"posted"
        wait_notes(server, "done", count)
    server.wait_for_log(HELD)
    assert server.get("/nothing").body == b"nothing"
    assert len(server.log_lines(HELD)) == 1


def test_the_limit_of_the_http_block_counts(nginx):
    server = serve(nginx, APP, http="wsgi_block_warning off;")
    assert server.get("/post").body == b"posted"
    wait_notes(server, "done")
    assert server.get("/nothing").body == b"nothing"
    assert not server.log_lines(HELD)
