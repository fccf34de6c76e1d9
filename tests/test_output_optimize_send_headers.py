"""wsgi_optimize_send_headers: the head goes out with the first item, and a body that nobody wants is not generated."""

import pytest

from harness.apps import forget, notes, serve, touch, wait_notes

NAME = "wsgi_optimize_send_headers"
ON = f"location / {{ {NAME} on; wsgi_pass app.py; }}"
OFF = "location / { wsgi_pass app.py; }"
APP = """
    HEADERS = [("Content-Type", "text/x"), ("ETag", '"v1"'), ("Last-Modified", "Fri, 20 Nov 2026 10:00:00 GMT")]

    def produce(first, start_response=None, status="200 OK", headers=HEADERS):
        # Notes each item that it is asked for.
        if start_response:
            start_response(status, headers)
        try:
            note("item first")
            yield first
            for number in range(20):
                note("item", number)
                yield b"%02d" % number
            note("end")
        finally:
            note("closed")

    def at_empty(environ, start_response):
        return produce(b"", start_response)

    def at_block(environ, start_response):
        return produce(b"first", start_response)

    def at_early(environ, start_response):
        start_response("200 OK", HEADERS)
        return produce(b"")

    def at_status(environ, start_response):
        status = environ["QUERY_STRING"]
        return produce(b"", start_response, status + " Own")

    def at_length(environ, start_response):
        return produce(b"", start_response, headers=[*HEADERS, ("Content-Length", "40")])

    def at_late(environ, start_response):
        # PEP 3333 lets start_response come with the first block; some call it after empty ones.
        yield b""
        yield b""
        start_response("200 OK", HEADERS)
        yield b"body"

    def at_changed(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b""
        try:
            raise ValueError("late")
        except ValueError:
            try:
                start_response("500 Changed", HEADERS, sys.exc_info())
            except ValueError as error:
                note("raised again")
                raise
        yield b"changed"

    def at_wait(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b""
        while not there("go"):
            note("waiting")
            time.sleep(0.01)
            yield b""
        yield b"body"

    def at_list(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b"", b"one", b"two"]

    def at_file(environ, start_response):
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
WHOLE = b"".join(b"%02d" % number for number in range(20))


def head(server, target):
    return server.request("HEAD", target)


def not_modified(server, target):
    return server.get(target, [("If-None-Match", '"v1"')])


def not_modified_since(server, target):
    return server.get(target, [("If-Modified-Since", "Fri, 20 Nov 2026 10:00:00 GMT")])


def failed(server, target):
    return server.get(target, [("If-Match", '"v2"')])


@pytest.mark.parametrize("ask, status", [(head, 200), (not_modified, 304), (not_modified_since, 304), (failed, 412)])
@pytest.mark.parametrize("target", ["/empty", "/block", "/early", "/length"])
def test_nothing_is_generated_after_the_first_item(nginx, ask, status, target):
    server = serve(nginx, APP, ON)
    for _ in range(2):
        forget(server)
        answer = ask(server, target)
        assert answer.status == status
        if status != 412:
            assert answer.body == b"" and answer.header("ETag") == '"v1"'
        wait_notes(server, "closed")
        assert notes(server) == ["item first", "closed"]


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(nginx, status):
    server = serve(nginx, APP, ON)
    assert server.get(f"/status?{status}").status == status
    wait_notes(server, "closed")
    assert notes(server) == ["item first", "closed"]


@pytest.mark.parametrize("ask", [head, not_modified])
def test_off_by_default(nginx, ask):
    """An empty item sends no head then; what comes after the head is another matter."""
    server = serve(nginx, APP, OFF)
    ask(server, "/empty")
    wait_notes(server, "closed")
    assert "item 0" in notes(server)


@pytest.mark.parametrize("target", ["/empty", "/early", "/block"])
def test_get_is_not_concerned(nginx, target):
    server = serve(nginx, APP, ON)
    for _ in range(2):
        forget(server)
        answer = server.get(target)
        assert (answer.status, answer.body) == (200, (b"first" if target == "/block" else b"") + WHOLE)
        wait_notes(server, "closed")
        assert notes(server)[-2:] == ["end", "closed"] and len(notes(server, "item")) == 21


def test_the_head_is_there_before_the_first_block(nginx):
    server = serve(nginx, APP, ON, h2c=True)
    client = server.connect()
    client.send_request("GET", "/wait")
    answer = client.read_head()
    assert (answer.status, answer.header("ETag"), client.buffer) == (200, '"v1"', b"")
    with_http2 = server.h2()
    stream = with_http2.send_request("GET", "/wait")
    with_http2.wait(lambda: stream.status == 200, "head")
    assert not stream.body
    touch(server, "go")
    client.read_body(answer)
    with_http2.finish(stream)
    assert answer.body == stream.body == b"body"


def test_without_it_the_head_waits_for_the_first_block(nginx):
    server = serve(nginx, APP, OFF)
    client = server.connect()
    client.send_request("GET", "/wait")
    wait_notes(server, "waiting", 10)
    client.sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.sock.recv(1)
    client.sock.settimeout(10)
    touch(server, "go")
    assert client.read_response().body == b"body"


@pytest.mark.parametrize("location", [ON, OFF])
def test_start_response_after_empty_items(nginx, location):
    """There is no head yet that could go out."""
    server = serve(nginx, APP, location)
    for _ in range(2):
        answer = server.get("/late")
        assert (answer.status, answer.body) == (200, b"body")
    assert head(server, "/late").status == 200


def test_without_it_a_head_can_be_changed_after_an_empty_item(nginx):
    answer = serve(nginx, APP, OFF).get("/changed")
    assert (answer.status, answer.body) == (500, b"changed")


def test_with_it_a_head_that_is_gone_cannot_be_changed(nginx):
    server = serve(nginx, APP, ON)
    client = server.connect()
    client.send_request("GET", "/changed")
    answer = client.read_response(strict=False)
    assert (answer.status, answer.body, answer.complete) == (200, b"", False)
    wait_notes(server, "raised again")
    server.wait_for_log("raised ValueError: late")


@pytest.mark.parametrize("location", [ON, OFF])
def test_lists_and_files_are_as_before(nginx, location):
    server = serve(nginx, APP, location)
    client = server.connect()
    for _ in range(2):
        answer = client.request("GET", "/list")
        assert (answer.header("Content-Length"), answer.body) == ("6", b"onetwo")
        assert client.request("HEAD", "/list").header("Content-Length") == "6"
        assert client.request("GET", "/list", [("If-None-Match", '"v1"')]).status == 304
        size = len(client.request("GET", "/file").body)
        assert client.request("HEAD", "/file").header("Content-Length") == str(size)


def test_the_length_of_the_application_is_kept(nginx):
    server = serve(nginx, APP, ON)
    assert head(server, "/length").header("Content-Length") == "40"
    assert server.get("/length").body == WHOLE


def test_the_connection_stays_usable(nginx):
    server = serve(nginx, APP, ON, h2c=True)
    client, with_http2 = server.connect(), server.h2()
    for target in ("/empty", "/block", "/length"):
        for one in (client, with_http2):
            assert one.request("HEAD", target).status == 200
            assert one.request("GET", target, [("If-None-Match", '"v1"')]).status == 304
            assert one.request("GET", "/hello").body == b"hello"
    assert len(wait_notes(server, "closed", 12)) == 12
    assert notes(server, "item 0") == []


def test_an_exception_after_the_first_item_does_not_happen(nginx):
    server = serve(nginx, """
        def at_fails(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b""
            raise ValueError("never reached")
        """, ON)
    assert head(server, "/fails").status == 200
    assert server.request("HEAD", "/fails", version="1.0").status == 200
    assert not server.log_lines("never reached")


def test_write_and_then_a_generator(nginx):
    server = serve(nginx, APP + """
    def at_write(environ, start_response):
        start_response("200 OK", HEADERS)(b"written")
        return produce(b"")
    """, ON)
    assert server.get("/write").body == b"written" + WHOLE
    forget(server)
    assert head(server, "/write").status == 200
    assert server.get("/hello").body == b"hello"
    assert notes(server, "item 0") == []


def test_a_subrequest_has_a_body(nginx):
    server = serve(nginx, APP + """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/empty" -->]']
    """, f"location / {{ ssi on; {NAME} on; wsgi_pass app.py; }}")
    assert server.get("/page", [("If-None-Match", '"v1"')]).body == b"[" + WHOLE + b"]"


@pytest.mark.parametrize("http, server, location, stops", [
    ("on", "", "", True), ("", "on", "", True), ("", "", "on", True), ("on", "off", "", False),
    ("on", "", "off", False), ("off", "", "on", True),
])
def test_inheritance(nginx, http, server, location, stops):
    http, server, location = (f"{NAME} {value};" if value else "" for value in (http, server, location))
    made = serve(nginx, APP, server + f"location / {{ {location} wsgi_pass app.py; }}", http=http)
    head(made, "/empty")
    wait_notes(made, "closed")
    assert ("item 0" not in notes(made)) == stops
