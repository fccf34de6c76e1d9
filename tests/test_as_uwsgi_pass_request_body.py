"""wsgi_pass_request_body off, beside uwsgi_pass: nginx reads the body, the application gets none.

With uwsgi_pass an application still sees CONTENT_LENGTH, and waits for what does not come if it reads. Ours sees a
request without a body.
"""

import pytest

from harness.apps import notes, serve, wait_notes

APP = """
    def at_show(environ, start_response):
        stream = environ["wsgi.input"]
        return answer(start_response, [environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH"),
                                       environ.get("CONTENT_TYPE"), stream.read().decode(), stream.read(5).decode(),
                                       stream.readline().decode(), list(stream)])

    def at_blind(environ, start_response):
        # Does not touch the body.
        return answer(start_response, [environ["REQUEST_METHOD"], environ.get("CONTENT_TYPE"), environ["PATH_INFO"]])

    def at_named(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "@named")])
        return []

    def at_body(environ, start_response):
        body = environ["wsgi.input"].read()
        return answer(start_response, [environ["REQUEST_METHOD"], len(body), body[:5].decode(),
                                       environ.get("CONTENT_LENGTH")])
    """
OFF = "location / { twin_pass_request_body off; twin_pass; }"
TYPE = [("Content-Type", "text/x")]
EMPTY = ["POST", None, "text/x", "", "", "", []]


def test_same_answers_where_the_body_is_not_looked_at(twins):
    pair = twins(APP, OFF)
    for method in ("GET", "POST", "PUT", "DELETE"):
        for body in (None, b"", b"body", b"x" * 100_000):
            answer = pair.request(method, "/blind", TYPE, body)
            assert answer.json() == [method, "text/x", "/blind"]


@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_a_named_location_gets_the_body_that_the_first_did_not(twins, size):
    pair = twins(APP, OFF + "location @named { rewrite ^ /body break; twin_pass; }")
    answer = pair.post("/named", b"x" * size)
    assert answer.json() == ["POST", size, "x" * min(size, 5), str(size) if size else answer.json()[3]]


def test_an_error_page_gets_the_body_that_the_application_did_not(twins):
    pair = twins(APP + """
    def at_fail(environ, start_response):
        start_response("404 No", [("Content-Length", "0")])
        return []
    """, "location / { twin_pass_request_body off; twin_intercept_errors on; error_page 404 = @named; twin_pass; }"
         "location @named { rewrite ^ /body break; twin_pass; }")
    assert pair.post("/fail", b"body").json() == ["POST", 4, "body", "4"]


@pytest.mark.parametrize("http, server, location, passed", [
    ("twin_pass_request_body off;", "", "", False), ("", "twin_pass_request_body off;", "", False),
    ("twin_pass_request_body off;", "", "twin_pass_request_body on;", True),
    ("twin_pass_request_body off;", "twin_pass_request_body on;", "", True), ("", "", "", True),
])
def test_inheritance(nginx, http, server, location, passed):
    one = [text.replace("twin_", "wsgi_") for text in (http, server, location)]
    made = serve(nginx, APP, one[1] + "location / { %s wsgi_pass app.py; }" % one[2], http=one[0])
    answer = made.post("/body", b"body").json()
    assert answer == (["POST", 4, "body", "4"] if passed else ["POST", 0, "", None])


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_the_application_sees_no_body(nginx, size):
    server = serve(nginx, APP, OFF.replace("twin_", "wsgi_").replace("wsgi_pass;", "wsgi_pass app.py;"))
    client = server.connect()
    for _ in range(3):
        assert client.request("POST", "/show", TYPE, b"x" * size).json() == EMPTY
        assert client.request("POST", "/show", TYPE, b"x" * size, chunked=True).json() == EMPTY
        assert client.request("GET", "/blind").json()[0] == "GET"


def test_over_http_2(nginx):
    server = serve(nginx, APP, "location / { wsgi_pass_request_body off; wsgi_pass app.py; }", h2c=True)
    client = server.h2()
    for size in (0, 5, 200_000):
        assert client.request("POST", "/show", TYPE, b"x" * size).json() == EMPTY


def test_the_body_is_read_before_the_application_is_called(nginx):
    server = serve(nginx, APP + """
    def at_noted(environ, start_response):
        note("called")
        return answer(start_response, b"done")
    """, "location / { wsgi_pass_request_body off; wsgi_pass app.py; }")
    client = server.connect()
    client.send(b"POST /noted HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
    # Another request is answered meanwhile.
    assert server.get("/blind").status == 200
    assert notes(server) == []
    client.send(b"56789")
    assert client.read_response().body == b"done"
    wait_notes(server, "called")


def test_a_body_that_is_too_large_is_refused_all_the_same(twins):
    pair = twins(APP, "client_max_body_size 10; location / { twin_pass_request_body off; twin_pass; }")
    assert pair.post("/blind", b"x" * 11).status == 413
    assert pair.post("/blind", b"x" * 10).status == 200


def test_expect_100_continue(nginx):
    server = serve(nginx, APP, "location / { wsgi_pass_request_body off; wsgi_pass app.py; }")
    client = server.connect()
    client.send(b"POST /show HTTP/1.1\r\nHost: a\r\nContent-Type: text/x\r\nContent-Length: 4\r\n"
                b"Expect: 100-continue\r\n\r\n")
    assert client.read_head(interim=True).status == 100
    client.send(b"body")
    assert client.read_response().json() == EMPTY
