"""Conditional requests: nginx compares validators for GET and HEAD only; a change that was made is not denied."""

import pytest

from harness.apps import serve

APP = """
    def at_thing(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("ETag", '"v2"'),
                                  ("Last-Modified", "Fri, 20 Nov 2026 10:00:00 GMT")])
        return [b"thing"]
    """


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "DELETE"])
@pytest.mark.parametrize("condition", [("If-Match", '"v1"'), ("If-Unmodified-Since", "Thu, 19 Nov 2026 10:00:00 GMT"),
                                       ("If-None-Match", '"v2"')])
def test_a_change_that_was_made_succeeds(nginx, method, condition):
    server = serve(nginx, APP)
    answer = server.connect().request(method, "/thing", [condition], body=b"new")
    assert (answer.status, answer.body) == (200, b"thing")


def test_get(nginx):
    server = serve(nginx, APP)
    assert server.get("/thing", [("If-None-Match", '"v2"')]).status == 304
    assert server.get("/thing", [("If-Match", '"v1"')]).status == 412
    assert server.get("/thing", [("If-Match", '"v2"')]).status == 200
