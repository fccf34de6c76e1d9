"""wsgi_queue_timeout: who waits longer for a thread is told to come back, and never reaches Python."""

import re

import pytest

from harness.apps import notes, touch, wait_notes
from harness.conf import accepts, duplicate, refuses
from harness.threads import ask, serve, wait_in_nginx

NAME = "wsgi_queue_timeout"
LINE = (r'\[error\].*wsgi: application "(\S+)": a request waited longer than (\S+ m?s) for a thread '
        r'\(wsgi_queue_timeout\), 503')


@pytest.mark.parametrize("http2", [False, True])
def test_503_and_never_python(nginx, http2):
    server = serve(nginx, threads=1, http=f"{NAME} 200ms;", h2c=True)
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    client = server.h2() if http2 else server.connect()
    answer = client.request("GET", "/hello?late")
    assert (answer.status, answer.header("Retry-After")) == (503, "1")
    assert b"503 Service Temporarily Unavailable" in answer.body
    (line,) = server.wait_for_log(LINE)
    assert re.search(LINE, line)[1] == f"{server.folder}/app.py"
    assert server.get("/ok").body == b"ok"
    touch(server, "go")
    assert first.read_response().body == b"go"
    assert client.request("GET", "/hello?again").body == b"hello"
    assert notes(server, "hello") == ["hello again"]


def test_who_waits_less_is_served(nginx):
    server = serve(nginx, threads=1, http=f"{NAME} 20s;")
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    waits = [ask(server, f"/hello?{number}") for number in range(3)]
    touch(server, "go")
    assert first.read_response().body == b"go"
    assert [client.read_response().body for client in waits] == [b"hello"] * 3


def test_a_long_request_is_not_concerned_once_it_runs(nginx):
    server = serve(nginx, threads=1, http=f"{NAME} 100ms;")
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    assert server.get("/hello").status == 503
    assert server.get("/hello").status == 503
    touch(server, "go")
    assert first.read_response().body == b"go"
    assert notes(server, "hello") == []


def test_it_makes_room_in_the_queue(nginx):
    server = serve(nginx, threads="1 queue=2", http=f"{NAME} 300ms;")
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    late = [ask(server, f"/hello?late{number}") for number in range(2)]
    wait_in_nginx(server, 3)
    assert [client.read_response().status for client in late] == [503, 503]
    waits = ask(server, "/hello?waits")
    wait_in_nginx(server, 2)
    touch(server, "go")
    assert waits.read_response().body == b"hello"
    assert first.read_response().body == b"go"


def test_each_location_has_its_own(nginx):
    server = serve(nginx, server=f"""
        wsgi_threads one; error_page 503 /static/file.txt;
        location / {{ wsgi_pass app.py; }}
        location /hello {{ {NAME} 200ms; wsgi_pass app.py; wsgi_script_name ""; }}
        location /static/ {{ alias %%FOLDER%%/static/; }}
        """, http="wsgi_thread_pool one threads=1;")
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    patient = ask(server, "/wait?second")
    answer = server.get("/hello")
    assert (answer.status, answer.body) == (503, b"static")
    touch(server, "go")
    touch(server, "second")
    assert [first.read_response().body, patient.read_response().body] == [b"go", b"second"]


def test_many_are_said_in_few_lines(nginx):
    server = serve(nginx, threads=1, http=f"{NAME} 150ms;", h2c=True)
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    client = server.h2()
    streams = [client.send_request("GET", "/hello") for _ in range(50)]
    client.finish(*streams)
    assert [stream.status for stream in streams] == [503] * 50
    assert 1 <= len(server.wait_for_log(LINE)) < 10
    touch(server, "go")
    assert first.read_response().body == b"go"


def test_who_leaves_before_it_is_forgotten(nginx):
    server = serve(nginx, threads=1, http=f"{NAME} 300ms;")
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    leaves = ask(server, "/hello?leaves")
    wait_in_nginx(server, 2)
    leaves.reset()
    wait_in_nginx(server, 1)
    assert server.get("/hello?late").status == 503
    touch(server, "go")
    assert first.read_response().body == b"go"
    assert notes(server, "hello") == []


@pytest.mark.parametrize("value", ["0", "100ms", "2s", "1m"])
def test_accepted(nginx, app, value):
    app("")
    accepts(nginx(f"location / {{ {NAME} {value}; wsgi_threads 2; wsgi_pass app.py; }}", start=False))


@pytest.mark.parametrize("value", ["soon", "-1", '""', "1x"])
def test_refused(nginx, value):
    text = f"{NAME} {value};"
    refuses(nginx(f"\n{text}\n", start=False), text, re.compile(".+"))


def test_duplicate(nginx):
    refuses(nginx(f"{NAME} 1s;\n{NAME} 2s;", start=False), f"{NAME} 2s;", duplicate(NAME))
