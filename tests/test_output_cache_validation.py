"""Validators of the application answer conditional requests by nginx's own filter, once, whatever the body is.

What methods this is for, and pages for 412, are in test_preconditions.py.
"""

import pytest

from harness.apps import notes, serve, wait_notes

OLD, DATE, NEW = ("Thu, 19 Nov 2026 10:00:00 GMT", "Fri, 20 Nov 2026 10:00:00 GMT", "Sat, 21 Nov 2026 10:00:00 GMT")
APP = f"""
    import io
    import urllib.parse

    VALIDATORS = [("ETag", '"v1"'), ("Last-Modified", "{DATE}")]

    def start(environ, start_response):
        wanted = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
        headers = [("Content-Type", "text/x"), ("X-Kept", "1"), ("Cache-Control", "max-age=5")]
        headers += [(name, value) for name, value in VALIDATORS if name.lower() not in wanted.get("without", "")]
        headers = [(name, wanted.get(name.lower(), value)) for name, value in headers]
        return start_response(wanted.get("status", "200 OK"), headers)

    def at_list(environ, start_response):
        start(environ, start_response)
        return [b"the ", b"body"]

    def at_generator(environ, start_response):
        start(environ, start_response)
        return Body(b"the ", b"", b"body")

    def at_late(environ, start_response):
        try:
            start(environ, start_response)
            yield b"the "
            yield b"body"
        finally:
            note("finally")

    def at_file(environ, start_response):
        start(environ, start_response)
        return environ["wsgi.file_wrapper"](open(os.path.join(HERE, "data"), "rb"))

    def at_write(environ, start_response):
        start(environ, start_response)(b"the ")
        return [b"body"]
    """
BODIES = ["/list", "/generator", "/late", "/file", "/write"]
CONDITIONS = [
    ([("If-Modified-Since", DATE)], 304),
    ([("If-Modified-Since", OLD)], 200),
    ([("If-Modified-Since", "nonsense")], 200),
    # `if_modified_since exact` is nginx's default.
    ([("If-Modified-Since", NEW)], 200),
    ([("If-None-Match", '"v1"')], 304),
    ([("If-None-Match", '"v2"')], 200),
    ([("If-None-Match", 'W/"v1"')], 304),
    ([("If-None-Match", "*")], 304),
    ([("If-None-Match", '"a", "v1" , "b"')], 304),
    ([("If-None-Match", '"a","b"')], 200),
    ([("If-None-Match", '"v1"'), ("If-Modified-Since", OLD)], 200),
    ([("If-None-Match", '"v1"'), ("If-Modified-Since", DATE)], 304),
    ([("If-Match", '"v1"')], 200),
    ([("If-Match", '"v2"')], 412),
    ([("If-Match", "*")], 200),
    ([("If-Match", 'W/"v1"')], 412),
    ([("If-Match", '"a", "v1"')], 200),
    ([("If-Unmodified-Since", DATE)], 200),
    ([("If-Unmodified-Since", OLD)], 412),
    ([("If-Unmodified-Since", NEW)], 200),
    ([("If-Match", '"v2"'), ("If-None-Match", '"v1"')], 412),
]


@pytest.fixture
def server(nginx):
    made = serve(nginx, APP, h2c=True)
    (made.folder / "data").write_bytes(b"the body")
    return made


def check(answer, status):
    assert answer.status == status
    assert len(answer.all("Date")) == len(answer.all("Server")) == 1
    if status == 200:
        assert answer.body == b"the body"
    if status == 304:
        assert answer.body == b"" and answer.header("Content-Type") is None and answer.header("Content-Length") is None
        assert (answer.all("ETag"), answer.all("Last-Modified")) == (['"v1"'], [DATE])
        assert answer.header("X-Kept") == "1" and answer.all("Cache-Control") == ["max-age=5"]
    if status == 412:
        assert b"the " not in answer.body


@pytest.mark.parametrize("target", BODIES)
def test_every_condition_for_every_body(server, target):
    for condition, status in CONDITIONS:
        check(server.get(target, condition), status)


@pytest.mark.parametrize("target", BODIES)
def test_one_connection_after_the_other(server, target):
    """Nothing of an answer without a body is left behind for the next one."""
    client = server.connect()
    for _ in range(3):
        check(client.request("GET", target, [("If-None-Match", '"v1"')]), 304)
        check(client.request("GET", target), 200)
        check(client.request("HEAD", target, [("If-None-Match", '"v1"')]), 304)
        check(client.request("GET", target, [("If-Modified-Since", DATE)], version="1.1"), 304)


@pytest.mark.parametrize("target", BODIES)
def test_over_http_2(server, target):
    client = server.h2()
    for condition, status in CONDITIONS:
        check(client.request("GET", target, condition), status)


def test_the_body_is_closed_when_it_is_not_wanted(server):
    for condition in (("If-None-Match", '"v1"'), ("If-Match", '"v2"')):
        server.get("/generator", [condition])
        server.get("/late", [condition])
    wait_notes(server, "close body", 2)
    wait_notes(server, "finally", 2)
    assert (len(notes(server, "close body")), len(notes(server, "finally"))) == (2, 2)


def test_without_validators_nothing_is_conditional(server):
    for condition in ([("If-Modified-Since", DATE)], [("If-None-Match", '"v1"')]):
        check(server.get("/list?without=etag,last-modified", condition), 200)
    # One of the two is enough.
    answer = server.get("/list?without=etag", [("If-Modified-Since", DATE)])
    assert (answer.status, answer.header("ETag")) == (304, None)
    answer = server.get("/list?without=last-modified", [("If-None-Match", '"v1"')])
    assert (answer.status, answer.header("Last-Modified")) == (304, None)


def test_a_weak_validator_of_the_application(server):
    target = "/list?etag=W/%22v1%22"
    for condition, status in (('"v1"', 304), ('W/"v1"', 304), ('"v2"', 200)):
        assert server.get(target, [("If-None-Match", condition)]).status == status
    assert server.get(target, [("If-Match", '"v1"')]).status == 412


def test_a_date_that_is_none(server):
    """It is passed as it is, and compared with nothing."""
    answer = server.get("/list?last-modified=yesterday", [("If-Modified-Since", DATE)])
    assert (answer.status, answer.all("Last-Modified"), answer.body) == (200, ["yesterday"], b"the body")


@pytest.mark.parametrize("mode, since, status", [
    ("off", DATE, 200), ("exact", DATE, 304), ("exact", NEW, 200), ("before", NEW, 304), ("before", OLD, 200),
])
def test_if_modified_since_of_the_location(nginx, mode, since, status):
    server = serve(nginx, APP, f"location / {{ if_modified_since {mode}; wsgi_pass app.py; }}")
    check(server.get("/list", [("If-Modified-Since", since)]), status)


@pytest.mark.parametrize("status", [304, 412])
@pytest.mark.parametrize("target", ["/list", "/generator"])
def test_what_the_application_has_decided_is_not_decided_again(server, target, status):
    client = server.connect()
    for condition, _ in CONDITIONS:
        answer = client.request("GET", f"{target}?status={status}+Own", condition)
        assert (answer.status, answer.reason) == (status, "Own")
        assert answer.all("ETag") == ['"v1"'] and answer.header("X-Kept") == "1"
        assert answer.body == (b"" if status == 304 else b"the body")


@pytest.mark.parametrize("status", [201, 203, 206, 302, 404, 500])
def test_other_statuses_are_not_conditional(server, status):
    for condition in ([("If-None-Match", '"v1"')], [("If-Match", '"v2"')], [("If-Modified-Since", DATE)]):
        answer = server.get(f"/list?status={status}+Own", condition)
        assert (answer.status, answer.body) == (status, b"the body")


def test_not_in_a_subrequest(nginx):
    """The page is conditional, its parts are not."""
    server = serve(nginx, APP + """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/list" -->|<!--#include virtual="/generator" -->]']
    """, "location / { ssi on; wsgi_pass app.py; }")
    answer = server.get("/page", [("If-None-Match", '"v1"'), ("If-Modified-Since", DATE)])
    assert (answer.status, answer.body) == (200, b"[the body|the body]")


def test_gzip_makes_the_validator_weak(nginx):
    server = serve(nginx, APP, "location / { gzip on; gzip_types *; gzip_min_length 1; wsgi_pass app.py; }")
    zipped = [("Accept-Encoding", "gzip")]
    answer = server.get("/list", zipped)
    assert (answer.status, answer.all("ETag")) == (200, ['W/"v1"'])
    assert server.get("/list", [*zipped, ("If-None-Match", 'W/"v1"')]).status == 304


def test_date_and_server_of_the_application_replace_those_of_nginx(nginx):
    server = serve(nginx, """
        def at_own(environ, start_response):
            start_response("200 OK", [("ETag", '"v1"'), ("Date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("Server", "mine")])
            return [b"x"]
        """, h2c=True)
    for client in (server.connect(), server.h2()):
        for condition, status in (([], 200), ([("If-None-Match", '"v1"')], 304), ([("If-Match", '"v2"')], 412)):
            answer = client.request("GET", "/own", condition)
            assert answer.status == status
            assert len(answer.all("Date")) == len(answer.all("Server")) == 1
            if status != 412:
                assert answer.all("Date") == ["Mon, 01 Jan 2001 00:00:00 GMT"] and answer.all("Server") == ["mine"]
