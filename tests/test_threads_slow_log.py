"""wsgi_slow_log: the stack of a request that runs longer than it should, once, without touching it."""

import re

import pytest

from harness.apps import settled, touch, wait_notes
from harness.threads import ask, serve

LINE = (r'\[warn\].*wsgi: application "(\S+)" runs for (\d+\.\d) s \(wsgi_slow_log\), request: "(.*?)"'
        r'(?:, in thread "(.*?)")?$')
APP = """
    def outer(name):
        inner(name)

    def inner(name):
        note("slow", threading.current_thread().name)
        block_until_there(name)

    def at_slow(environ, start_response):
        outer(environ["QUERY_STRING"])
        return answer(start_response, b"slow")

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"first"
        outer(environ["QUERY_STRING"])
        yield b"last"

    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        for number in range(60):
            yield b"x" * 100_000
    """


@pytest.mark.parametrize("threads", [2, 0])
@pytest.mark.parametrize("target", ["/slow", "/stream"])
def test_once_with_its_stack(nginx, threads, target):
    server = serve(nginx, APP, threads=threads, http="wsgi_slow_log 100ms; wsgi_block_warning off;")
    client = server.connect()
    client.send_request("GET", f"{target}?go")
    (slow,) = wait_notes(server, "slow")
    (line,) = server.wait_for_log(LINE)
    name, seconds, request, thread = re.search(LINE, line).groups()
    assert (name, request) == (f"{server.folder}/app.py", f"GET {target}?go HTTP/1.1")
    assert (thread in (None, "MainThread")) == (threads == 0) and float(seconds) >= 0.1
    server.wait_for_log("in block_until_there")
    lines = [line for line in server.log().splitlines() if "wsgi: " in line]
    start = next(number for number, each in enumerate(lines) if each == line)
    found = [name for each in lines[start + 1:] for name in re.findall(r'wsgi:   File ".*?", line \d+, in (\w+)', each)]
    # Oldest first, as Python shows its tracebacks.
    assert found[-4:] == [f"at_{target[1:]}", "outer", "inner", "block_until_there"]
    assert settled(lambda: len(server.log_lines(LINE))) == 1
    touch(server, "go")
    answer = client.read_response()
    assert (answer.status, answer.body) == (200, b"slow" if target == "/slow" else b"firstlast")
    assert len(server.log_lines(LINE)) == 1


def test_each_request_of_several(nginx):
    server = serve(nginx, APP, threads=3, http="wsgi_slow_log 100ms;")
    clients = [ask(server, f"/slow?{number}") for number in range(3)]
    lines = server.wait_for_log(LINE, count=3)
    assert sorted(re.search(LINE, line)[3] for line in lines) == [f"GET /slow?{number} HTTP/1.1" for number in range(3)]
    assert len({re.search(LINE, line)[4] for line in lines}) == 3
    for number, client in enumerate(clients):
        touch(server, number)
        assert client.read_response().body == b"slow"
    assert len(server.log_lines(LINE)) == 3


def test_fast_requests_and_slow_clients_are_not_named(nginx):
    server = serve(nginx, APP, threads=3, http="wsgi_slow_log 150ms;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    head = client.read_head()
    # One that is slow tells that time enough has passed.
    slow = ask(server, "/slow?go")
    server.wait_for_log(LINE)
    for _ in range(5):
        assert server.get("/hello").body == b"hello"
    touch(server, "go")
    assert slow.read_response().body == b"slow"
    client.read_body(head)
    assert len(head.body) == 6_000_000
    assert len(server.log_lines(LINE)) == 1


def test_off_by_default_and_inside(nginx):
    server = serve(nginx, APP, server="""
        wsgi_threads 3;
        location / { wsgi_pass app.py; }
        location /stream { wsgi_slow_log 0; wsgi_pass app.py; wsgi_script_name ""; }
        """, http="wsgi_slow_log 100ms;")
    clients = [ask(server, "/stream?go"), ask(server, "/slow?go")]
    server.wait_for_log(LINE)
    touch(server, "go")
    assert [client.read_response().body for client in clients] == [b"firstlast", b"slow"]
    assert [re.search(LINE, line)[3] for line in server.log_lines(LINE)] == ["GET /slow?go HTTP/1.1"]
