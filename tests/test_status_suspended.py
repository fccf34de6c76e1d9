"""wsgi_status knows requests that are suspended."""

import pytest

from harness.apps import serve, touch
from harness.status import LOCATION, wait_requests

pytestmark = [pytest.mark.inline_only, pytest.mark.once]


def test_suspended(nginx):
    server = serve(nginx, """
        def at_wait(environ, start_response):
            while not there("go"):
                yield environ["ngx.sleep"](300)
            yield from answer(start_response, b"done")
        """, LOCATION + " location / { wsgi_pass app.py; }")
    client = server.connect()
    client.send_request("GET", "/wait")
    (request,) = wait_requests(server, state="suspended")
    assert (request["method"], request["target"]) == ("GET", "/wait")
    touch(server, "go")
    assert client.read_response().body == b"done"
