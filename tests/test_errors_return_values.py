"""What is not an iterable of bytes is refused with a message that says what to write instead."""

import pytest

from harness.http import Truncated

NORMAL = """
def normal(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"normal"]
"""
SERVER = "location / { wsgi_pass app.py; } location /normal { wsgi_pass app.py normal; }"
APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lost", "y")])
    return {value}
"""


def check(nginx, text, message):
    server = nginx(SERVER, apps={"app.py": text + NORMAL})
    worker = server.worker
    with server.connect() as client:
        answer = client.request("GET", "/")
        assert answer.status == 500
        assert answer.header("X-Lost") is None
        (line,) = server.wait_for_log(r"\[error\].*wsgi: application \"\S+/app\.py\" ")
        assert f'wsgi: application "{server.folder}/app.py" {message}' in line, line
        assert 'request: "GET / HTTP/1.1"' in line
    assert server.get("/normal").text == "normal"
    assert server.worker == worker


@pytest.mark.parametrize("value, message", [
    ("None", 'returned None, not an iterable of bytes; return a list such as [b"..."]'),
    ("'text'", "returned a str, not an iterable of bytes; return [body.encode()]"),
    ("''", "returned a str, not an iterable of bytes; return [body.encode()]"),
    ("b'bytes'", "returned bytes, not an iterable of bytes; return [body]"),
    ("b''", "returned bytes, not an iterable of bytes; return [body]"),
    ("42", "returned an int, not an iterable of bytes"),
    ("True", "returned a bool, not an iterable of bytes"),
    ("1.5", "returned a float, not an iterable of bytes"),
    ("object()", "returned an object, not an iterable of bytes"),
])
def test_not_an_iterable(nginx, value, message):
    check(nginx, APP.format(value=value), message)


@pytest.mark.parametrize("value, message", [
    ("['text']", "yielded a str, not bytes; encode it first"),
    ("('text',)", "yielded a str, not bytes; encode it first"),
    ("(item for item in ['text'])", "yielded a str, not bytes; encode it first"),
    ("[1, 2]", "yielded an int, not bytes"),
    ("[None]", "yielded None, not bytes"),
    ("[['nested']]", "yielded a list, not bytes"),
    ("[bytearray(b'x')]", "yielded a bytearray, not bytes"),
    ("[memoryview(b'x')]", "yielded a memoryview, not bytes"),
    ("{'a': 1}", "yielded a str, not bytes; encode it first"),
    ("range(3)", "yielded an int, not bytes"),
    ("[b'', 'text']", "yielded a str, not bytes; encode it first"),
    ("[b'first', 'text']", "yielded a str, not bytes; encode it first"),
])
def test_items_of_a_wrong_kind(nginx, value, message):
    """In a list the mistake is seen before anything is sent, even in a later item."""
    check(nginx, APP.format(value=value), message)


def test_later_item_of_a_generator(nginx):
    server = nginx(SERVER, apps={"app.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"good"
    yield "bad"
    yield b"never"
""" + NORMAL})
    with server.connect() as client:
        client.send_request("GET", "/")
        with pytest.raises(Truncated) as caught:
            client.read_response()
    assert caught.value.response.body == b"good"
    server.wait_for_log(r'wsgi: application "\S+/app\.py" yielded a str, not bytes; encode it first')
    assert server.get("/normal").text == "normal"


def test_without_start_response(nginx):
    for value in ("[b'body']", "[]", "iter([b'body'])", "iter([])", "[b'']"):
        server = nginx(SERVER, apps={"app.py": f"def application(environ, start_response):\n    return {value}\n"
                                     + NORMAL})
        assert server.get("/").status == 500
        server.wait_for_log(r'\[error\].*wsgi: application "\S+/app\.py" .*start_response')
        assert server.get("/normal").text == "normal"
    assert f'wsgi: application "{server.folder}/app.py" returned without calling start_response' in server.log()


def test_none_without_start_response(nginx):
    """The commonest beginner's mistake of all: a function that forgets to return."""
    server = nginx(SERVER, apps={"app.py": "def application(environ, start_response):\n    pass\n" + NORMAL})
    assert server.get("/").status == 500
    server.wait_for_log(r'application "\S+/app\.py" returned (None|without calling start_response)')


def test_wrong_signature(nginx):
    server = nginx(SERVER, apps={"app.py": "def application(request):\n    return [b'']\n" + NORMAL})
    assert server.get("/").status == 500
    server.wait_for_log(r'application "\S+/app\.py" raised TypeError: application\(\) takes 1 positional argument')


def test_asgi_application_by_mistake(nginx):
    """A coroutine is no iterable of bytes."""
    server = nginx(SERVER, apps={"app.py": "async def application(scope, receive):\n    pass\n" + NORMAL})
    assert server.get("/").status == 500
    server.wait_for_log(r'application "\S+/app\.py" returned a coroutine, not an iterable of bytes')


def test_close_is_called_on_a_wrong_value(nginx):
    server = nginx(SERVER, apps={"app.py": """
class Body:
    def __iter__(self):
        return iter(["text"])

    def close(self):
        print("closed")

def application(environ, start_response):
    start_response("200 OK", [])
    return Body()
""" + NORMAL})
    assert server.get("/").status == 500
    assert len(server.wait_for_log("wsgi: closed")) == 1


@pytest.mark.parametrize("yielded, sent", [("b'abc'", b"abc"), ("b''", b"")])
def test_too_short_a_body(nginx, yielded, sent):
    server = nginx(SERVER, apps={"app.py": f"""
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    yield {yielded}
""" + NORMAL})
    with server.connect() as client:
        client.send_request("GET", "/")
        with pytest.raises(Truncated) as caught:
            client.read_response()
        if caught.value.response:
            assert caught.value.response.body == sent
    lines = server.wait_for_log(f'wsgi: application "{server.folder}/app.py" sent {len(sent)} of the 10 bytes of its '
                                "Content-Length, the connection is closed")
    assert "[error]" in lines[0]
    assert server.get("/normal").text == "normal"


def test_too_long_a_body(nginx):
    server = nginx(SERVER, apps={"app.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    yield b"12345"
    yield b"67890abc"
    yield b"more"
""" + NORMAL})
    with server.connect() as client:
        for _ in range(2):
            assert client.request("GET", "/").body == b"1234567890"
    lines = server.wait_for_log(r'\[warn\].*wsgi: application "\S+/app\.py" yielded more than its Content-Length of '
                                "10 bytes, the rest is dropped")
    assert 'request: "GET / HTTP/1.1"' in lines[0]
