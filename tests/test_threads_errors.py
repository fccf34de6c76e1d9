"""What goes wrong in a thread is answered and logged as inline: 500, the traceback, the client and its request."""

import re

import pytest

from harness.apps import touch, wait_notes
from harness.http import Truncated
from harness.threads import ask, serve

HEAD = r'\[error\].*wsgi: application "\S+/app\.py" '
APP = """
    def at_raises(environ, start_response):
        raise ValueError("boom " + environ["QUERY_STRING"])

    def at_exits(environ, start_response):
        sys.exit(3)

    def at_late(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"part"
        raise ValueError("late " + environ["QUERY_STRING"])

    def at_none(environ, start_response):
        start_response("200 OK", PLAIN)

    def at_text(environ, start_response):
        start_response("200 OK", PLAIN)
        return "text"

    def at_item(environ, start_response):
        start_response("200 OK", PLAIN)
        return ["text"]

    def at_never(environ, start_response):
        return [b"body"]

    def at_twice(environ, start_response):
        start_response("200 OK", PLAIN)
        start_response("200 OK", PLAIN)
        return [b"body"]

    def at_status(environ, start_response):
        start_response(200, PLAIN)
        return [b"body"]

    def at_header(environ, start_response):
        start_response("200 OK", [("X-Bad", "a\\r\\nb")])
        return [b"body"]

    def at_hop(environ, start_response):
        start_response("200 OK", [("Connection", "close")])
        return [b"body"]

    def at_exc_info(environ, start_response):
        start_response("200 OK", [*PLAIN, ("X-First", "1")])
        try:
            raise KeyError("replaced")
        except KeyError:
            start_response("503 Sorry", [*PLAIN, ("X-Second", "2")], sys.exc_info())
        return [b"sorry"]

    def at_exc_info_late(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"part"
        try:
            raise KeyError("too late")
        except KeyError:
            start_response("500 Sorry", PLAIN, sys.exc_info())

    def at_errors(environ, start_response):
        errors = environ["wsgi.errors"]
        name = environ["QUERY_STRING"]
        errors.write("first " + name + "\\nsecond " + name + "\\n")
        if name.isdigit():
            block_until_there("go" + name)
        print("third", name, file=errors)
        errors.flush()
        print("printed", name)
        print("to stderr", name, file=sys.stderr)
        return answer(start_response, b"said")
    """


@pytest.mark.parametrize("target, message", [
    ("/raises?x", "raised ValueError: boom x"),
    ("/exits", "raised SystemExit: 3"),
    ("/none", ".*None"),
    ("/text", ".*str"),
    ("/item", ".*str"),
    ("/never", ".*start_response"),
    ("/twice", ".*start_response"),
    ("/status", "raised TypeError: .*"),
    ("/header", "raised ValueError: .*"),
    ("/hop", "raised .*"),
])
@pytest.mark.parametrize("http2", [False, True])
def test_500_and_what_the_log_says(nginx, target, message, http2):
    server = serve(nginx, APP, h2c=True)
    worker = server.worker
    client = server.h2() if http2 else server.connect()
    assert client.request("GET", target).status == 500
    line = server.wait_for_log(HEAD + message)[0]
    version = "HTTP/2.0" if http2 else "HTTP/1.1"
    assert "client: 127.0.0.1" in line and f'request: "GET {target} {version}"' in line
    assert 'server: localhost' in line and 'host: "localhost"' in line
    # After a 500 nginx closes a connection of HTTP/1.
    client = client if http2 else server.connect()
    assert client.request("GET", "/hello").body == b"hello"
    assert server.worker == worker


def test_the_traceback(nginx):
    server = serve(nginx, APP)
    assert server.get("/raises?x").status == 500
    server.wait_for_log("wsgi: ValueError: boom x")
    lines = [re.sub(r"^.*?wsgi: ", "", line) for line in server.log_lines(r"\[error\].*wsgi: ")]
    start = lines.index("Traceback (most recent call last):")
    assert "in at_raises" in "".join(lines[start:]) and 'app.py", line' in lines[start + 1]
    assert "ngx_wsgi" not in "".join(lines[start:])
    assert lines[-1] == "ValueError: boom x"


@pytest.mark.parametrize("target, message", [
    ("/late?x", "raised ValueError: late x after the headers were sent"),
    ("/exc_info_late", "raised KeyError: 'too late' after the headers were sent")])
def test_after_the_head_the_answer_is_cut_short(nginx, target, message):
    server = serve(nginx, APP, h2c=True)
    with pytest.raises(Truncated) as caught:
        server.get(target)
    assert caught.value.response.body == b"part"
    server.wait_for_log(HEAD + message)
    client = server.h2()
    stream = client.request("GET", target)
    assert stream.reset is not None and stream.body == b"part"
    assert client.request("GET", "/hello").body == b"hello"


def test_exc_info_replaces_the_head(nginx):
    answer = serve(nginx, APP).get("/exc_info")
    assert (answer.status, answer.reason, answer.body) == (503, "Sorry", b"sorry")
    assert answer.header("X-First") is None and answer.header("X-Second") == "2"


def test_lines_of_wsgi_errors_know_their_request(nginx):
    server = serve(nginx, APP, threads=3)
    clients = [ask(server, f"/errors?{number}") for number in range(3)]
    server.wait_for_log("second ", count=3)
    for number in (1, 2, 0):
        touch(server, f"go{number}")
        assert clients[number].read_response().body == b"said"
    for word in ("first", "second", "third"):
        for number in range(3):
            (line,) = server.wait_for_log(rf"wsgi: {word} {number}\b")
            assert f'request: "GET /errors?{number} HTTP/1.1"' in line and "client: 127.0.0.1" in line
    for number in range(3):
        for word in ("printed", "to stderr"):
            assert len(server.wait_for_log(rf"wsgi: .*{word} {number}\b")) == 1


def test_lines_of_many_threads_are_whole(nginx):
    server = serve(nginx, """
        def at_chatty(environ, start_response):
            name = environ["QUERY_STRING"]
            for number in range(100):
                print(f"<{name}-{number}>" + "x" * 100 + "<end>", file=environ["wsgi.errors"])
            return answer(start_response, b"said")
        """, threads=4)
    clients = [server.connect() for _ in range(4)]
    for number, client in enumerate(clients):
        client.send_request("GET", f"/chatty?{number}")
    assert [client.read_response().body for client in clients] == [b"said"] * 4
    lines = server.wait_for_log("<end>", count=400)
    assert len(lines) == 400
    found = []
    for line in lines:
        name, number = re.search(r"wsgi: <(\d)-(\d+)>x{100}<end>", line).groups()
        assert f'request: "GET /chatty?{name} HTTP/1.1"' in line
        found.append((name, int(number)))
    for name in "0123":
        assert [number for each, number in found if each == name] == list(range(100))


def test_wsgi_errors_after_the_request(nginx):
    server = serve(nginx, """
        kept = []

        def at_keep(environ, start_response):
            kept.append(environ["wsgi.errors"])
            kept.append(environ["wsgi.input"])
            return answer(start_response, b"kept")

        def at_use(environ, start_response):
            return answer(start_response, [raised(kept[0].write, "late words\\n"), raised(kept[1].read)])
        """)
    assert server.post("/keep", b"body").body == b"kept"
    server.get("/use").json()
    assert server.get("/hello").body == b"hello"


def test_one_fails_and_the_others_do_not_notice(nginx):
    server = serve(nginx, APP, threads=4)
    waits = ask(server, "/wait?go")
    wait_notes(server, "wait")
    for _ in range(20):
        assert server.get("/raises?x").status == 500
        assert server.get("/hello").body == b"hello"
    touch(server, "go")
    assert waits.read_response().body == b"go"
