"""What Python prints goes to the error log, line by line, complete, and never through a format string."""

import re

import pytest

from harness.nginx import wait_for

pytestmark = pytest.mark.once

APP = """
import os
import sys

if os.path.exists(os.path.join(os.path.dirname(__file__), "loud")):
    print("printed at import")


def run(environ):
    text = environ["wsgi.input"].read().decode()
    where = environ["QUERY_STRING"]
    if where == "stdout":
        print(text)
    elif where == "stderr":
        print(text, file=sys.stderr)
    elif where == "errors":
        environ["wsgi.errors"].write(text + "\\n")
    elif where == "partial":
        environ["wsgi.errors"].write(text)
    elif where == "buffer":
        sys.stdout.buffer.write(text.encode() + b"\\n")


def application(environ, start_response):
    run(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
# How a line of ours begins in the error log. The rest of a line that was too long for nginx has no prefix.
HEAD = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#\d+: (?:\*\d+ )?(?:wsgi: )?", re.M)
WHERE = ["stdout", "stderr", "errors"]


def payload(server, since=0):
    """What our error lines carry, in order."""
    lines = []
    for line in server.log()[since:].splitlines():
        if HEAD.match(line):
            lines.append(re.sub(r", client: \S+, server: .*$", "", HEAD.sub("", line, count=1)))
    return lines


def say(nginx, where, text):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    since = server.log_size()
    assert server.post(f"/?{where}", text.encode()).status == 200
    return server, since


@pytest.mark.parametrize("where", [*WHERE, "buffer"])
def test_line_by_line(nginx, where):
    server, since = say(nginx, where, "first line\nsecond line\nthird")
    wait_for(lambda: len(payload(server, since)) >= 3, server.log)
    assert payload(server, since) == ["first line", "second line", "third"]


@pytest.mark.parametrize("where", WHERE)
def test_percent_is_only_a_character(nginx, where):
    text = "%s %n %d %V %p %*s %1$s %% %08x %Z %N 100%"
    server, since = say(nginx, where, text)
    wait_for(lambda: payload(server, since), server.log)
    assert payload(server, since) == [text]


@pytest.mark.parametrize("where", WHERE)
def test_a_long_line_is_complete(nginx, where):
    """nginx's own log function cuts at 2048 bytes; a line may be split, but nothing may be lost."""
    words = [f"word{number:06}" for number in range(20000)]
    server, since = say(nginx, where, ",".join(words))
    wait_for(lambda: "word019999" in server.log(), "the last word in the log")
    assert re.findall(r"word\d{6}", "".join(payload(server, since))) == words


@pytest.mark.parametrize("where", WHERE)
def test_unicode(nginx, where):
    server, since = say(nginx, where, "grün ☃ \N{PILE OF POO}")
    wait_for(lambda: payload(server, since), server.log)
    assert payload(server, since) == ["grün ☃ \N{PILE OF POO}"]


@pytest.mark.parametrize("where", WHERE)
def test_control_characters_forge_no_line(nginx, where):
    server, since = say(nginx, where, "before\rmiddle\x00after\x1b[31m")
    wait_for(lambda: "after" in server.log()[since:], server.log)
    lines = [line for line in server.log()[since:].splitlines() if line.strip()]
    assert all(re.match(r"\d{4}/\d\d/\d\d ", line) for line in lines), lines


def test_partial_line_is_not_lost(nginx):
    server, since = say(nginx, "partial", "no newline at the end")
    wait_for(lambda: "no newline at the end" in payload(server, since), server.log)


def test_pieces_of_one_line_are_one_line(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import sys

def application(environ, start_response):
    for piece in ("a", "b", "c\\nd", "e\\n"):
        sys.stdout.write(piece)
    errors = environ["wsgi.errors"]
    errors.writelines(["f", "g\\n", "h\\n"])
    errors.flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    since = server.log_size()
    server.get("/")
    wait_for(lambda: len(payload(server, since)) >= 4, server.log)
    assert payload(server, since) == ["abc", "de", "fg", "h"]


def test_at_import(nginx, folder):
    (folder / "loud").write_text("")
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    server.wait_for_log("printed at import")
    assert payload(server) == ["printed at import"]


def test_errors_knows_the_request(nginx):
    """wsgi.errors belongs to a request, and the log says to which."""
    server, since = say(nginx, "errors", "about this request")
    (line,) = server.wait_for_log("about this request")
    assert 'request: "POST /?errors HTTP/1.1"' in line


def test_lone_surrogates(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
def application(environ, start_response):
    print("lone \\ud800 surrogate")
    environ["wsgi.errors"].write("other \\udcff surrogate\\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    assert server.get("/").status == 200
    server.wait_for_log("lone .* surrogate")
    server.wait_for_log("other .* surrogate")


def test_logging_module(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import logging
logging.basicConfig(level=logging.INFO)

def application(environ, start_response):
    logging.getLogger("shop").warning("ordered %s", "tea")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    assert server.get("/").status == 200
    server.wait_for_log("WARNING:shop:ordered tea")


def test_from_a_thread(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import threading

def work():
    for number in range(100):
        print(f"thread line {number:03}")

threading.Thread(target=work, daemon=True).start()

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    server.wait_for_log("thread line 099")
    assert re.findall(r"thread line (\d+)", server.log()) == [f"{number:03}" for number in range(100)]


def test_streams_look_like_streams(nginx):
    """isatty(), fileno(), encoding: what libraries ask of sys.stdout and wsgi.errors."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import io
import sys

def application(environ, start_response):
    for stream in (sys.stdout, sys.stderr):
        assert stream.isatty() is False
        assert stream.encoding.lower() == "utf-8"
        assert stream.writable()
        assert stream.write("abc\\n") == 4
        try:
            stream.write(b"bytes")
        except TypeError:
            pass
        else:
            raise AssertionError("bytes accepted")
        try:
            stream.fileno()
        except (OSError, AttributeError):
            pass
        stream.flush()
    assert sys.stdin.read() == ""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    assert server.get("/").status == 200, server.tail()


def test_c_level_output(nginx):
    """What a C library or a child writes to descriptor 2 lands in nginx's stderr and breaks nothing."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import os
import subprocess

def application(environ, start_response):
    os.write(2, b"from the descriptor\\n")
    subprocess.run(["sh", "-c", "echo from the child >&2"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    assert server.get("/").status == 200
    text = server.log() + server.output()
    assert "from the descriptor" in text and "from the child" in text
