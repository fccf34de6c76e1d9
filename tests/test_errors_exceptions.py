"""An exception in an application: 500, the traceback in the log, the same worker goes on."""

import re

import pytest

from harness.http import Truncated
from harness.nginx import rss, wait_for

HEAD = r"\[error\].*wsgi: application \"\S+/app\.py\" raised "
NORMAL = """
def normal(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"normal"]
"""
CASES = {
    "value error": ("raise ValueError('boom')", "ValueError: boom"),
    "no message": ("raise ValueError", "ValueError"),
    "lookup": ("{}['key']", "KeyError: 'key'"),
    "assertion": ("assert False, 'said so'", "AssertionError: said so"),
    "sys.exit": ("import sys; sys.exit(1)", "SystemExit: 1"),
    "sys.exit without a code": ("import sys; sys.exit()", "SystemExit"),
    "sys.exit with a text": ("import sys; sys.exit('goodbye')", "SystemExit: goodbye"),
    "quit": ("raise SystemExit", "SystemExit"),
    "keyboard interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "generator exit": ("raise GeneratorExit", "GeneratorExit"),
    "stop iteration": ("raise StopIteration('odd')", "(StopIteration: odd|RuntimeError: .*StopIteration)"),
    "recursion": ("def f(): f()\n    f()", "RecursionError: "),
    "memory": ("bytearray(1 << 60)", "MemoryError"),
    "memory raised": ("raise MemoryError('none left')", "MemoryError: none left"),
    "base exception": ("raise type('Odd', (BaseException,), {})('strange')", "Odd: strange"),
    "system error": ("raise SystemError('inside')", "SystemError: inside"),
    "unicode": ("raise ValueError('grün ☃')", "ValueError: grün ☃"),
    "format": ("raise ValueError('%s%n%d%V')", "ValueError: %s%n%d%V"),
    "latin": ("b'\\xff'.decode()", "UnicodeDecodeError: "),
    "os error": ("open('/nonexistent/file')", "FileNotFoundError: .*No such file"),
    "warning": ("raise DeprecationWarning('old')", "DeprecationWarning: old"),
    "syntax": ("eval('1 +')", "SyntaxError: "),
}


def body(code, where):
    """An application that runs `code` at a certain stage."""
    if where == "call":
        return f"def application(environ, start_response):\n    {code}\n"
    if where == "after start_response":
        return f"def application(environ, start_response):\n    start_response('200 OK', [('X-Lost', 'y'), " \
               f"('Content-Length', '5'), ('Content-Type', 'text/html')])\n    {code}\n"
    if where == "first item":
        return f"def application(environ, start_response):\n    start_response('200 OK', [('X-Lost', 'y')])\n" \
               f"    if False: yield b''\n    {code}\n"
    if where == "after empty item":
        return f"def application(environ, start_response):\n    start_response('200 OK', [('X-Lost', 'y')])\n" \
               f"    yield b''\n    {code}\n"
    raise KeyError(where)


def serve(nginx, text, **more):
    more.setdefault("server", """
        location / { wsgi_pass app.py; }
        location /normal { wsgi_pass app.py normal; }
    """)
    return nginx(apps={"app.py": text + NORMAL}, **more)


def check_500(server, pattern, target="/"):
    worker = server.worker
    answer = server.get(target)
    assert answer.status == 500
    assert answer.header("X-Lost") is None, "headers of the failed answer do not leak into the error page"
    assert "Traceback" not in answer.text
    lines = server.wait_for_log(HEAD + pattern)
    assert 'request: "GET / HTTP/1.1"' in lines[0]
    server.wait_for_log(r"\[error\].*wsgi: Traceback \(most recent call last\):")
    assert server.get("/normal").text == "normal"
    assert server.worker == worker


@pytest.mark.parametrize("where", ["call", "after start_response", "first item", "after empty item"])
@pytest.mark.parametrize("code, pattern", [CASES["value error"], CASES["sys.exit"], CASES["keyboard interrupt"],
                                           CASES["recursion"], CASES["memory"]])
def test_every_stage(nginx, where, code, pattern):
    check_500(serve(nginx, body(code, where)), pattern)


@pytest.mark.parametrize("name", CASES)
def test_every_kind(nginx, name):
    code, pattern = CASES[name]
    check_500(serve(nginx, body(code, "call")), pattern)


LATE = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"){length}])
    yield b"part one"
    {code}
"""


@pytest.mark.parametrize("length", ["", ", ('Content-Length', '100')"])
@pytest.mark.parametrize("code, pattern", [CASES["value error"], CASES["sys.exit"], CASES["recursion"]])
def test_late_exception_truncates(nginx, length, code, pattern):
    """After the headers only truncation can tell the client: no final chunk, no full length."""
    server = serve(nginx, LATE.format(length=length, code=code))
    worker = server.worker
    for _ in range(2):
        with server.connect() as client:
            client.send_request("GET", "/")
            with pytest.raises(Truncated) as caught:
                client.read_response()
            assert caught.value.response.status == 200
            assert caught.value.response.body == b"part one"
    lines = server.wait_for_log(HEAD + pattern + ".*")
    assert "after the headers were sent, the response is cut short" in lines[0]
    assert server.get("/normal").text == "normal"
    assert server.worker == worker


def test_late_exception_http2(nginx):
    server = serve(nginx, LATE.format(length="", code="raise ValueError('boom')"), h2c=True)
    client = server.h2()
    stream = client.request("GET", "/")
    assert stream.status == 200 and stream.body == b"part one"
    assert stream.reset is not None and not stream.complete
    other = client.request("GET", "/normal")
    assert other.body == b"normal" and other.complete, "the connection goes on"


def test_early_exception_http2(nginx):
    server = serve(nginx, body("raise ValueError('boom')", "after start_response"), h2c=True)
    client = server.h2()
    assert client.request("GET", "/").status == 500
    assert client.request("GET", "/normal").body == b"normal"


def test_traceback_lines_are_complete_and_in_order(nginx, folder):
    server = serve(nginx, """
def inner(value):
    return 1 / value

def application(environ, start_response):
    inner(0)
""")
    server.get("/")
    server.wait_for_log("wsgi: ZeroDivisionError: division by zero")
    lines = [re.sub(r"^.*?wsgi: ", "", line) for line in server.log_lines(r"\[error\].*wsgi: ")]
    lines = [line for line in lines if not re.match(r"\s+[\^~]+$", line)]  # Python 3.11 underlines
    assert re.match(r'application "\S+/app\.py" raised ZeroDivisionError: division by zero', lines[0])
    assert lines[1:] == [
        "Traceback (most recent call last):",
        f'  File "{folder}/app.py", line 6, in application',
        "    inner(0)",
        f'  File "{folder}/app.py", line 3, in inner',
        "    return 1 / value",
        "ZeroDivisionError: division by zero",
    ]


def test_long_traceback_is_not_truncated(nginx):
    """Hundreds of different frames, each in the log."""
    functions = "\n".join(f"def f{n}():\n    f{n + 1}()" for n in range(300))
    server = serve(nginx, f"{functions}\ndef f300():\n    raise ValueError('x' * 10000 + 'END')\n"
                          "def application(environ, start_response):\n    f0()\n")
    server.get("/")
    server.wait_for_log("xEND")
    log = server.log()
    assert all(f", in f{n}\n" in log for n in range(301))
    assert log.count("x" * 1000) >= 5


def test_message_of_several_lines(nginx):
    """A newline in a message must not forge a line of the log."""
    server = serve(nginx, body("raise ValueError('one\\n2026/01/01 00:00:00 [alert] 1#1: forged')", "call"))
    server.get("/")
    server.wait_for_log(HEAD + "ValueError: one")
    assert not [line for line in server.log().splitlines() if line.startswith("2026/01/01 00:00:00 [alert]")]
    server.allow("forged")


def test_exception_groups_and_causes(nginx):
    server = serve(nginx, body("""
    try:
        int('x')
    except ValueError as error:
        raise RuntimeError('outer') from error""", "call"))
    server.get("/")
    server.wait_for_log("ValueError: invalid literal")
    server.wait_for_log("The above exception was the direct cause")
    server.wait_for_log("wsgi: RuntimeError: outer")


@pytest.mark.parametrize("code", ["def __str__(self): raise ValueError('no')",
                                  "def __str__(self): return 3",
                                  "def __str__(self): raise SystemExit",
                                  "__class__ = property(lambda self: 1 / 0)"])
def test_exception_that_cannot_be_printed(nginx, code):
    server = serve(nginx, f"class Odd(Exception):\n    {code}\n\n" + body("raise Odd('x')", "call"))
    assert server.get("/").status == 500
    server.wait_for_log(HEAD)
    assert server.get("/normal").text == "normal"


def test_exception_in_the_iterator_protocol(nginx):
    for code in ("def __iter__(self): raise ValueError('boom')",
                 "def __iter__(self): return 3",
                 "def __iter__(self): return self\n    def __next__(self): raise ValueError('boom')",
                 "def __getattr__(self, name): raise ValueError('boom')",
                 "def __len__(self): raise ValueError('boom')\n    def __iter__(self): raise ValueError('boom')"):
        server = serve(nginx, f"""
class Body:
    {code}

def application(environ, start_response):
    start_response("200 OK", [])
    return Body()
""")
        assert server.get("/").status == 500, code
        assert server.get("/normal").text == "normal"


def test_exception_in_close(nginx):
    """The answer was complete; what close() raises is logged and nothing else."""
    server = serve(nginx, """
class Body:
    def __iter__(self):
        return iter([b"body"])

    def close(self):
        raise ValueError("in close")

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body()
""")
    with server.connect() as client:
        for _ in range(2):
            answer = client.request("GET", "/")
            assert (answer.status, answer.body) == (200, b"body")
    lines = server.wait_for_log(r'\[error\].*wsgi: close\(\) of application "\S+/app\.py" raised ValueError: in close')
    assert 'request: "GET / HTTP/1.1"' in lines[0]
    server.wait_for_log("wsgi: Traceback")


@pytest.mark.parametrize("code", ["raise SystemExit", "raise KeyboardInterrupt", "def f(): f()\n        f()"])
def test_worse_in_close(nginx, code):
    server = serve(nginx, f"""
class Body(list):
    def close(self):
        {code}

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body([b"body"])
""")
    worker = server.worker
    assert server.get("/").body == b"body"
    server.wait_for_log(r"close\(\) of application")
    assert server.get("/normal").text == "normal"
    assert server.worker == worker


def test_exceptions_do_not_pile_up(nginx):
    """Hundreds of failures leave no memory and no descriptors behind (descriptors are checked at the end)."""
    server = serve(nginx, body("big = bytearray(100000); raise ValueError('boom')", "call"))
    for _ in range(50):
        assert server.get("/").status == 500
    before = rss(server.worker)
    for _ in range(300):
        server.get("/")
    assert rss(server.worker) - before < 4 << 20


def test_exception_object_is_released(nginx):
    """Frames of a failed request do not stay alive in sys.last_traceback or anywhere else."""
    server = nginx("location / { wsgi_pass app.py; } location /count { wsgi_pass app.py count; }", apps={"app.py": """
import gc

class Marker:
    alive = 0
    def __init__(self):
        Marker.alive += 1
    def __del__(self):
        Marker.alive -= 1

def application(environ, start_response):
    marker = Marker()
    raise ValueError("boom")

def count(environ, start_response):
    gc.collect()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(Marker.alive).encode()]
"""})
    for _ in range(5):
        assert server.get("/").status == 500
    assert server.get("/count").text == "0"


def test_failure_in_a_subrequest_does_not_end_the_page(nginx):
    server = serve(nginx, body("raise ValueError('boom')", "call"), server="""
        location / { wsgi_pass app.py; }
        location /normal { wsgi_pass app.py normal; }
        location /page/ { root %%FOLDER%%; ssi on; ssi_types *; }
    """)
    (server.folder / "page").mkdir()
    (server.folder / "page/index.txt").write_text('before <!--# include virtual="/" --> after')
    answer = server.get("/page/index.txt")
    assert answer.status == 200 and answer.text.startswith("before") and answer.text.endswith("after")
    assert server.get("/normal").text == "normal"


def test_error_page(nginx):
    server = serve(nginx, body("raise ValueError('boom')", "after start_response"), server="""
        location / { wsgi_pass app.py; error_page 500 /sorry.txt; }
        location = /sorry.txt { return 200 "sorry"; }
        location /normal { wsgi_pass app.py normal; }
    """)
    answer = server.get("/")
    assert (answer.status, answer.text) == (500, "sorry")


def test_unraisable_is_logged(nginx):
    server = serve(nginx, """
class Thing:
    def __del__(self):
        raise ValueError("in del")

def application(environ, start_response):
    Thing()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
""")
    assert server.get("/").body == b"ok"
    server.wait_for_log("ValueError: in del")


def test_exception_in_a_thread_is_logged(nginx):
    server = serve(nginx, """
import threading

def fail():
    raise ValueError("in thread")

def application(environ, start_response):
    threading.Thread(target=fail).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
""")
    assert server.get("/").body == b"ok"
    wait_for(lambda: server.log_lines("ValueError: in thread"), "the traceback of the thread")
