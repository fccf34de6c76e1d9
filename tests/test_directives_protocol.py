"""wsgi_protocol wsgi2: `status, headers, body = application(environ)`, and everything else as with wsgi."""

import pytest

from harness.apps import forget, in_kernel, notes, serve, settled, touch, wait_notes
from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count
from harness.http import Truncated

pytestmark = pytest.mark.once

NAME = "wsgi_protocol"
WSGI2 = "wsgi_protocol wsgi2; location / { wsgi_pass app.py; }"
CALL = '''
    def application(*args, **kwargs):
        """The first part of the path names the function that answers."""
        (environ,) = args
        assert not kwargs
        return globals()["at_" + environ["PATH_INFO"].split("/")[1]](environ)

    def at_hello(environ):
        return "200 OK", PLAIN, [b"hello"]
'''
DEMANDS = 'not a tuple (status, headers, body), as "wsgi_protocol wsgi2" demands'


def serve2(nginx, text, server=WSGI2, **options):
    return serve(nginx, CALL + text, server, **options)


BODIES = """
    def at_list(environ):
        return "200 OK", PLAIN, [b"one ", b"", b"two"]

    def at_tuple(environ):
        return "200 OK", PLAIN, (b"one ", b"two")

    def at_generator(environ):
        def body():
            yield b""
            yield b"one "
            yield b"two"
        return "200 OK", PLAIN, body()

    def at_iterator(environ):
        return "200 OK", PLAIN, Body(b"one ", b"two")

    def at_file(environ):
        with open(os.path.join(HERE, "text"), "wb") as file:
            file.write(b"not this: one two")
        file = open(file.name, "rb")
        file.seek(10)
        return "200 OK", PLAIN, environ["wsgi.file_wrapper"](file)

    def at_named(environ):
        import collections
        return collections.namedtuple("Answer", "status headers body")("200 OK", PLAIN, [b"one two"])
"""


@pytest.mark.parametrize("kind", ["list", "tuple", "generator", "iterator", "file", "named"])
@pytest.mark.parametrize("http", ["1.1", "1.0", "2"])
def test_any_iterable_is_a_body(nginx, kind, http):
    server = serve2(nginx, BODIES, h2c=True)
    answer = server.h2().request("GET", "/" + kind) if http == "2" else server.get("/" + kind, version=http)
    assert (answer.status, answer.body) == (200, b"one two")
    assert answer.header("Content-Type") == "text/plain"


@pytest.mark.parametrize("kind", ["list", "tuple", "generator", "iterator", "file", "named"])
def test_head(nginx, kind):
    server = serve2(nginx, BODIES)
    with server.connect() as client:
        assert client.request("HEAD", "/" + kind).status == 200
        assert client.request("GET", "/hello").body == b"hello"


def test_an_empty_body(nginx):
    server = serve2(nginx, """
    def at_list(environ):
        return "201 Created", [("X-Empty", "1")], []

    def at_iterator(environ):
        return "201 Created", [("X-Empty", "1")], Body()

    def at_status(environ):
        return "304 Not Modified", [("X-Empty", "1")], ()
    """)
    for target, status in {"/list": 201, "/iterator": 201, "/status": 304}.items():
        answer = server.get(target)
        assert (answer.status, answer.header("X-Empty"), answer.body) == (status, "1", b"")


def test_nothing_but_the_environ_is_passed(nginx):
    server = serve(nginx, """
    def application(*args, **kwargs):
        body = json.dumps([[type(arg).__name__ for arg in args], list(kwargs), "wsgi.version" in args[0]])
        return "200 OK", [("Content-Type", "text/plain")], [body.encode()]
    """, WSGI2)
    assert server.get("/").json() == [["dict"], [], True]


def test_the_same_answer_as_with_wsgi(nginx):
    server = serve(nginx, """
    ANSWERS = {
        "/list": ("200 OK", [("Content-Type", "text/html"), ("X-A", "1"), ("X-A", "2")], [b"<p>"]),
        "/blocks": ("404 Not here", [("Content-Type", "text/html"), ("Set-Cookie", "a=b")], [b"a", b"b", b"c"]),
        "/length": ("200 OK", [("Content-Length", "3"), ("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")], [b"abc"]),
        "/bare": ("299 Odd", [], [b"x"]),
        "/generator": ("200 OK", [("Content-Type", "text/plain")], None),
    }

    def find(environ):
        status, headers, body = ANSWERS[environ["PATH_INFO"]]
        return status, list(headers), body if body is not None else (block for block in (b"a", b"", b"b"))

    def application(environ, start_response=None):
        status, headers, body = find(environ)
        if start_response is None:
            return status, headers, body
        start_response(status, headers)
        return body
    """, "location / { wsgi_pass app.py; } location /2/ { wsgi_protocol wsgi2; wsgi_pass app.py; }")
    for target in ("list", "blocks", "length", "bare", "generator"):
        for method in ("GET", "HEAD"):
            first, second = (server.request(method, f"{prefix}/{target}") for prefix in ("", "/2"))

            def shown(answer):
                headers = [(name, value) for name, value in answer.headers if name != "Date"]
                return answer.status, answer.reason, headers, answer.body, answer.chunks
            assert shown(first) == shown(second), (method, target)


def test_the_request_body_is_there(nginx):
    server = serve2(nginx, """
    def at_echo(environ):
        return "200 OK", PLAIN, [environ["REQUEST_METHOD"].encode(), b" ", environ["wsgi.input"].read()]
    """)
    assert server.post("/echo", b"text").body == b"POST text"


@pytest.mark.parametrize("value, returned", [
    ('["200 OK", [], [b"x"]]', "a list"),
    ("None", "None"),
    ('[b"x"]', "a list"),
    ('"200 OK"', "a str"),
    ('(item for item in ("200 OK", [], [b"x"]))', "a generator"),
    ("42", "an int"),
    ('("200 OK", [])', None),
    ('("200 OK", [], [b"x"], [])', None),
    ("()", None),
])
def test_what_is_no_tuple_of_three(nginx, value, returned):
    server = serve2(nginx, f"""
    def at_wrong(environ):
        return {value}
    """)
    assert server.get("/wrong").status == 500
    assert server.get("/hello").body == b"hello"
    (line,) = server.wait_for_log(r"\[error\].*wsgi: application \"\S+/app\.py\" returned ")
    assert DEMANDS in line
    if returned:
        assert f"returned {returned}, {DEMANDS}" in line


WRONG = [
    ('"OK"', "[]", "ValueError"),
    ('"20 OK"', "[]", "ValueError"),
    ('b"200 OK"', "[]", "TypeError"),
    ("200", "[]", "TypeError"),
    ('"200 OK\\r\\nX-Evil: 1"', "[]", "ValueError"),
    ('"200 OK"', "None", "TypeError"),
    ('"200 OK"', '{"X-A": "1"}', "TypeError"),
    ('"200 OK"', '[("X-A", 1)]', "TypeError"),
    ('"200 OK"', '[("X-A", "1\\r\\nX-Evil: 2")]', "ValueError"),
    ('"200 OK"', '[("X A", "1")]', "ValueError"),
    ('"200 OK"', '[("Transfer-Encoding", "chunked")]', "ValueError"),
    ('"200 OK"', '[("X-A", "\\u20ac")]', "ValueError"),
]


@pytest.mark.parametrize("status, headers, error", WRONG)
def test_wrong_status_or_headers(nginx, status, headers, error):
    """The same checks as those of start_response; the body is closed although nobody iterates it."""
    server = serve2(nginx, f"""
    def at_wrong(environ):
        return {status}, {headers}, Body(b"never")
    """)
    answer = server.get("/wrong")
    assert answer.status == 500 and b"never" not in answer.body
    assert answer.header("X-Evil") is None
    assert server.get("/hello").body == b"hello"
    server.wait_for_log(rf"\[error\].*wsgi: application \"\S+/app\.py\" .*{error}")
    assert notes(server) == ["close body"]


@pytest.mark.parametrize("value, text", [
    ("None", "returned None, not an iterable of bytes"),
    ("'text'", "returned a str, not an iterable of bytes"),
    ("b'bytes'", "returned bytes, not an iterable of bytes"),
    ("['text']", "yielded a str, not bytes"),
])
def test_what_is_no_body(nginx, value, text):
    server = serve2(nginx, f"""
    def at_wrong(environ):
        return "200 OK", [("X-Lost", "1")], {value}
    """)
    answer = server.get("/wrong")
    assert answer.status == 500 and answer.header("X-Lost") is None
    server.wait_for_log(rf"\[error\].*wsgi: application \"\S+/app\.py\" .*{text}")


def test_an_exception_in_the_call(nginx):
    server = serve2(nginx, """
    def at_raises(environ):
        raise LookupError("planned")
    """)
    assert server.get("/raises").status == 500
    server.wait_for_log(r'\[error\].*application "\S+/app\.py" raised LookupError: planned')
    server.wait_for_log("in at_raises")


def test_an_application_of_the_old_protocol(nginx):
    server = serve(nginx, "", WSGI2)
    assert server.get("/").status == 500
    server.wait_for_log(r'raised TypeError: .*start_response')


CLOSING = """
    def at_success(environ):
        return "200 OK", PLAIN, Body(b"one", b"", b"two")

    def at_empty(environ):
        return "200 OK", PLAIN, Body()

    def at_no_content(environ):
        return "204 No Content", [], Body(b"one", b"two")

    def at_too_long(environ):
        return "200 OK", [("Content-Length", "4")], Body(b"one", b"two", b"three")

    def at_first_fails(environ):
        return "200 OK", PLAIN, Body(ValueError("boom"))

    def at_str_item(environ):
        return "200 OK", PLAIN, Body("text")

    def at_later_fails(environ):
        return "200 OK", PLAIN, Body(b"one", ValueError("boom"))

    def at_too_short(environ):
        return "200 OK", [("Content-Length", "40")], Body(b"one")

    def at_big(environ):
        return "200 OK", PLAIN, Body(*[b"x" * 100000] * 80)

    def at_waiting(environ):
        def blocks():
            yield b"first"
            note("waiting")
            while not there("go"):
                yield b""
            yield b"last"
        body = Body()
        body.items = blocks()
        return "200 OK", PLAIN, body
"""


def closed_once(server):
    wait_notes(server, "close")
    # Another request, so that a second close() would have had its time.
    assert server.get("/hello").body == b"hello"
    assert notes(server, "close") == ["close body"], server.tail()


@pytest.mark.parametrize("name, status", [("success", 200), ("empty", 200), ("no_content", 204), ("too_long", 200),
                                          ("first_fails", 500), ("str_item", 500)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_closed_exactly_once(nginx, name, status, method):
    server = serve2(nginx, CLOSING)
    if method == "GET":
        assert server.get("/" + name).status == status
    else:
        assert server.request("HEAD", "/" + name).status in (status, 200)
    closed_once(server)


@pytest.mark.parametrize("name", ["later_fails", "too_short"])
def test_closed_exactly_once_when_cut_short(nginx, name):
    server = serve2(nginx, CLOSING)
    with pytest.raises(Truncated):
        server.get("/" + name)
    closed_once(server)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_closed_exactly_once_when_the_client_is_gone(nginx, how):
    server = serve2(nginx, CLOSING)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    client.read_head()
    assert settled(lambda: notes(server)) == []
    client.reset() if how == "reset" else client.close()
    closed_once(server)


def test_closed_exactly_once_when_the_client_goes_while_the_application_waits(nginx):
    server = serve2(nginx, CLOSING)
    client = server.connect()
    client.send_request("GET", "/waiting")
    wait_notes(server, "waiting")
    client.reset()
    if settled(lambda: notes(server, "close")) == []:
        touch(server, "go")
    closed_once(server)


def test_http2_stream_reset(nginx):
    server = serve2(nginx, CLOSING, h2c=True)
    client = server.h2(hold=True)
    stream = client.send_request("GET", "/big")
    client.wait(lambda: len(stream.body) >= 65535, "a full window")
    assert notes(server, "close") == []
    client.reset(stream)
    closed_once(server)


def test_a_client_that_does_not_read_stops_the_application(nginx):
    size, count = 65536, 400
    server = serve2(nginx, f"""
    def at_blocks(environ):
        def blocks():
            for number in range({count}):
                note("asked", number)
                yield (b"%08d" % number) * {size // 8}
        return "200 OK", PLAIN, blocks()
    """)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/blocks")
    wait_notes(server, "asked")
    asked = settled(lambda: len(notes(server, "asked")))
    assert asked < count
    assert (asked - 1) * size <= in_kernel(client), "blocks were asked for that the kernel did not have yet"
    assert server.get("/hello").body == b"hello"
    answer = client.read_response()
    assert answer.body == b"".join((b"%08d" % number) * (size // 8) for number in range(count))


def test_headers_wait_for_the_first_block(nginx):
    server = serve2(nginx, """
    def at_late(environ):
        def blocks():
            note("started")
            while not there("go"):
                yield b""
            yield b"body"
        return "200 OK", PLAIN, blocks()
    """)
    client = server.connect()
    client.send_request("GET", "/late")
    wait_notes(server, "started")
    assert not client.closed(0.3) and client.buffer == b""
    touch(server, "go")
    assert client.read_response().body == b"body"


def test_a_middleware_speaks_wsgi2_too(nginx):
    server = serve2(nginx, "", "wsgi_protocol wsgi2; wsgi_middleware upper.py; location / { wsgi_pass app.py; }",
                    apps={"upper.py": """
def middleware(app):
    def wrapped(environ):
        status, headers, body = app(environ)
        return status, [*headers, ("X-Middleware", "1")], [block.upper() for block in body]
    return wrapped
"""})
    answer = server.get("/hello")
    assert (answer.status, answer.header("X-Middleware"), answer.body) == (200, "1", b"HELLO")


BOTH = """
    note("import")

    def application(environ, start_response=None):
        if start_response is None:
            return "200 OK", PLAIN, [b"wsgi2"]
        start_response("200 OK", PLAIN)
        return [b"wsgi"]
    """


def test_inheritance(nginx):
    server = serve(nginx, BOTH, """
        location / { wsgi_pass app.py; }
        location /old/ { wsgi_protocol wsgi; wsgi_pass app.py; }
        location /outer/ { wsgi_protocol wsgi; location /outer/in/ { wsgi_pass app.py; } }
        location /again/ { wsgi_protocol wsgi2; wsgi_pass app.py; if ($arg_x) { add_header X-If yes; } }
    """, http="wsgi_protocol wsgi2;")
    for target, text in {"/": "wsgi2", "/old/": "wsgi", "/outer/in/": "wsgi", "/again/?x=1": "wsgi2"}.items():
        assert server.get(target).text == text
    assert notes(server) == ["import"], "one application, whichever way it is called"


def test_wsgi_is_the_default(nginx):
    assert serve(nginx, BOTH).get("/").text == "wsgi"


def test_a_reload_changes_it(nginx):
    server = serve(nginx, BOTH)
    assert server.get("/").text == "wsgi"
    forget(server)
    server.hup(server=WSGI2)
    assert server.get("/").text == "wsgi2"


@pytest.mark.parametrize("level", ["http", "server", "location"])
@pytest.mark.parametrize("value", ["wsgi", "wsgi2"])
def test_accepted_level(nginx, app, level, value):
    app("")
    directive = f"{NAME} {value};"
    accepts(nginx((directive if level == "server" else "")
                  + "location / { %s wsgi_pass app.py; }" % (directive if level == "location" else ""),
                  http=directive if level == "http" else "", start=False))


@pytest.mark.parametrize("directive, said", [
    (f"{NAME};", wrong_count(NAME)),
    (f"{NAME} wsgi wsgi2;", wrong_count(NAME)),
    *[(f"{NAME} {value};", f'invalid value "{value}" in "{NAME}" directive, it must be "wsgi" or "wsgi2"')
      for value in ("wsgi3", "asgi", "on", "wsgi1")],
])
def test_refused(nginx, directive, said):
    refuses(nginx(f"\n{directive}\n", start=False), directive, said)


def test_duplicate(nginx):
    refuses(nginx(f"{NAME} wsgi;\n{NAME} wsgi2;", start=False), f"{NAME} wsgi2;", duplicate(NAME))


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: f"{NAME} wsgi2;"}), NAME, not_allowed(NAME))
