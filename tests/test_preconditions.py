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


def test_an_error_page_of_ours_for_nginxs_answer(nginx):
    """nginx answers 412 while our head is being sent, and comes back to us for the page."""
    server = serve(nginx, APP + """
    def at_page(environ, start_response):
        return answer(start_response, b"page")
    """, "location / { wsgi_pass app.py; error_page 412 /page; }")
    for _ in range(3):
        answer = server.get("/thing", [("If-Match", '"v1"')])
        assert (answer.status, answer.body) == (412, b"page")
    assert server.get("/thing").body == b"thing"
    assert not server.log_lines("panicked")
