"""The queue in front of the threads: first come, first served; full, it answers 503 and says so once a second."""

import re

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.threads import ask, serve, wait_in_nginx

FULL = r'\[error\].*wsgi: the queue of application "(\S+)" is full \((\d+) threads?, (\d+) waiting\), 503'


def refused(server, target="/hello"):
    answer = server.get(target)
    assert answer.status == 503, answer
    assert answer.header("Retry-After") == "1"
    return answer


def test_first_come_first_served(nginx):
    server = serve(nginx, threads=1)
    first = ask(server, "/wait?first")
    others = []
    for number in range(10):
        others.append(ask(server, f"/hello?{number}"))
        wait_in_nginx(server, number + 2)
    assert notes(server, "hello") == []
    touch(server, "first")
    assert [client.read_response().body for client in [first, *others]] == [b"first"] + [b"hello"] * 10
    assert notes(server, "hello") == [f"hello {number}" for number in range(10)]


def test_first_come_first_served_over_http_2(nginx):
    server = serve(nginx, threads=1, h2c=True)
    client = server.h2()
    streams = [client.send_request("GET", "/wait?first")]
    streams += [client.send_request("GET", f"/hello?{number}") for number in range(20)]
    wait_in_nginx(server, 21)
    touch(server, "first")
    client.finish(*streams)
    assert [stream.status for stream in streams] == [200] * 21
    assert notes(server, "hello") == [f"hello {number}" for number in range(20)]


@pytest.mark.parametrize("threads, waiting", [(1, 0), (1, 1), (2, 3), (3, 0)])
def test_full(nginx, threads, waiting):
    server = serve(nginx, threads=f"{threads} queue={waiting}")
    clients = []
    for number in range(threads):
        clients.append(ask(server, f"/wait?{number}"))
        wait_notes(server, f"wait {number}")
    queued = [ask(server, f"/hello?{number}") for number in range(waiting)]
    wait_in_nginx(server, threads + waiting)
    answer = refused(server)
    assert b"503 Service Temporarily Unavailable" in answer.body and b"nginx" in answer.body
    (line,) = server.wait_for_log(FULL)
    name, said_threads, said_waiting = re.search(FULL, line).groups()
    assert (name, int(said_threads), int(said_waiting)) == (f"{server.folder}/app.py", threads, waiting)
    assert 'request: "GET /hello HTTP/1.1"' in line
    # nginx itself is as reachable as ever.
    assert server.get("/ok").body == b"ok"
    touch(server, "0")
    assert clients[0].read_response().body == b"0"
    assert [client.read_response().body for client in queued] == [b"hello"] * waiting
    # There is room again.
    assert server.get("/hello?again").body == b"hello"
    for number in range(1, threads):
        touch(server, number)
        assert clients[number].read_response().text == str(number)
    assert len(notes(server, "hello")) == waiting + 1


def test_the_default_queue_is_long(nginx):
    server = serve(nginx, threads=1, connections=1200, h2c=True)
    first = ask(server, "/wait?first")
    wait_notes(server, "wait")
    # 128 streams at once is what nginx allows for a connection.
    clients = [server.h2() for _ in range(8)]
    streams = [(client, client.send_request("GET", "/hello")) for client in clients for _ in range(128)]
    wait_in_nginx(server, 1025)
    refused(server)
    touch(server, "first")
    assert first.read_response().body == b"first"
    for client, stream in streams:
        assert client.finish(stream).status == 200
    assert len(notes(server, "hello")) == 1024


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_an_error_page_for_it(nginx, method):
    server = serve(nginx, server="""
        wsgi_threads 1 queue=0;
        location / { wsgi_pass app.py; error_page 503 /static/busy.html; }
        location /named { wsgi_pass app.py; error_page 503 = @busy; wsgi_script_name ""; }
        location /changed { wsgi_pass app.py; error_page 503 =200 /static/busy.html; wsgi_script_name ""; }
        location @busy { return 429 "named"; }
        location /static/ { alias %%FOLDER%%/static/; }
        """, apps={"static/busy.html": "busy"})
    client = ask(server, "/wait?go")
    wait_notes(server, "wait")
    body = b"" if method == "HEAD" else b"busy"
    payload = b"x" * 100_000 if method == "POST" else None
    answer = server.request(method, "/hello", body=payload)
    assert (answer.status, answer.body) == (503, body)
    assert server.request(method, "/named", body=payload).status == 429
    answer = server.request(method, "/changed", body=payload)
    assert (answer.status, answer.body) == (200, body)
    touch(server, "go")
    assert client.read_response().body == b"go"


def test_over_http_2_and_in_a_connection_that_stays_open(nginx):
    server = serve(nginx, threads="1 queue=0", h2c=True)
    waits = ask(server, "/wait?go")
    wait_notes(server, "wait")
    h2, h1 = server.h2(), server.connect()
    for _ in range(3):
        stream = h2.request("GET", "/hello")
        assert (stream.status, stream.header("retry-after")) == (503, "1")
        answer = h1.request("GET", "/hello")
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
        answer = h1.request("POST", "/hello", body=b"x" * 1000)
        assert answer.status == 503
    touch(server, "go")
    assert waits.read_response().body == b"go"
    assert h2.request("GET", "/hello").body == b"hello" and h1.request("GET", "/hello").body == b"hello"


def test_one_line_a_second(nginx):
    server = serve(nginx, threads="1 queue=0", http="keepalive_requests 1000000;")
    waits = ask(server, "/wait?go")
    wait_notes(server, "wait")
    client, refusals = server.connect(), 0

    def kept_quiet():
        found = re.findall(r"is full \(1 threads?, 0 waiting\), 503(?: \(and (\d+) more since the last message\))?",
                           server.log())
        return [int(more or 0) for more in found]

    while len(kept_quiet()) < 2:
        assert client.request("GET", "/hello").status == 503
        refusals += 1
        assert refusals < 500_000
    # Each line counts what was kept quiet before it, and nothing is lost.
    first, second = kept_quiet()
    assert (first, second) == (0, refusals - 2)
    assert refusals > 4
    touch(server, "go")
    assert waits.read_response().body == b"go"


def test_each_application_has_its_own_queue(nginx):
    server = serve(nginx, server="""
        location / { wsgi_threads 1 queue=0; wsgi_pass app.py; }
        location /other/ { wsgi_threads 1 queue=0; wsgi_pass other.py; }
        """, apps={"other.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"other"]
"""})
    waits = ask(server, "/wait?go")
    wait_notes(server, "wait")
    refused(server)
    assert server.get("/other/").body == b"other"
    touch(server, "go")
    assert waits.read_response().body == b"go"


def test_a_request_body_is_read_before_it_waits(nginx):
    """A slow upload keeps no place in the queue."""
    server = serve(nginx, """
        def at_size(environ, start_response):
            return answer(start_response, len(environ["wsgi.input"].read()))
        """, threads="1 queue=1")
    waits = ask(server, "/wait?go")
    wait_notes(server, "wait")
    slow = server.connect()
    slow.send(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    wait_in_nginx(server, 2)
    queued = ask(server, "/hello")
    wait_in_nginx(server, 3)
    refused(server)
    touch(server, "go")
    assert waits.read_response().body == b"go" and queued.read_response().body == b"hello"
    slow.send(b"67890")
    assert slow.read_response().json() == 10


def test_many_refusals_leave_nothing(nginx):
    server = serve(nginx, threads="1 queue=0")
    waits = ask(server, "/wait?go")
    wait_notes(server, "wait")
    client = server.connect()
    for _ in range(20):
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" * 45)
        for _ in range(45):
            assert client.read_response().status == 503
    touch(server, "go")
    assert waits.read_response().body == b"go"
    assert settled(lambda: notes(server, "hello")) == []
    # The harness looks for connections and descriptors at the end.
