"""$wsgi_queue_time and $wsgi_time in the access log: how long a request waited for a thread, and how long it ran."""

import re

import pytest

from harness.apps import touch, wait_notes
from harness.nginx import wait_for
from harness.threads import ask, serve

LOG = """log_format times '$request_uri $status queue=$wsgi_queue_time run=$wsgi_time all=$request_time';
         access_log %%FOLDER%%/times.log times;"""
APP = """
    def at_sleeps(environ, start_response):
        time.sleep(float(environ["QUERY_STRING"]))
        return answer(start_response, b"slept")

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        for number in range(60):
            yield b"x" * 100_000

    def at_steps(environ, start_response):
        start_response("200 OK", PLAIN)
        for number in range(4):
            time.sleep(0.05)
            yield b"x"

    def at_fails(environ, start_response):
        raise ValueError("boom")
    """
OTHERS = """location /inline/ { wsgi_threads 0; wsgi_pass inline.py; }"""
INLINE = {"inline.py": """
import time

def application(environ, start_response):
    time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"inline"]
"""}


def times(server, uri, count=1):
    """(status, queue, run, all) of the requests for one URI."""
    def found():
        lines = [line.split() for line in (server.folder / "times.log").read_text().splitlines()]
        lines = [line[1:] for line in lines if line[0] == uri]
        return lines if len(lines) >= count else None
    lines = wait_for(found, lambda: f"{uri} in the log: {(server.folder / 'times.log').read_text()}")
    return [(int(status), *(value.partition("=")[2] for value in values)) for status, *values in lines]


def seconds(text):
    assert re.fullmatch(r"\d+\.\d{3}", text), text
    return float(text)


def test_a_request_that_waited(nginx):
    server = serve(nginx, APP, threads=1, http=LOG)
    first = ask(server, "/sleeps?0.2")
    waits = ask(server, "/hello?waits")
    assert first.read_response().body == b"slept" and waits.read_response().body == b"hello"
    (status, queue, run, all_), = times(server, "/sleeps?0.2")
    assert status == 200 and 0.2 <= seconds(run) <= seconds(all_) + 0.002 and seconds(queue) < 0.2
    (status, queue, run, all_), = times(server, "/hello?waits")
    # It came while the first one slept, and ran for a moment.
    assert status == 200 and seconds(run) < seconds(queue) <= seconds(all_) + 0.002


def test_one_that_did_not(nginx):
    server = serve(nginx, APP, threads=4, http=LOG)
    assert server.get("/sleeps?0.05").body == b"slept"
    (status, queue, run, all_), = times(server, "/sleeps?0.05")
    assert seconds(queue) + seconds(run) <= seconds(all_) + 0.002 and seconds(run) >= 0.05


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_slow_client_does_not_count(nginx, buffering):
    server = serve(nginx, APP, http=LOG + f"wsgi_output_buffering {buffering};")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/stream")
    head = client.read_head()
    # So long the client reads nothing, at least.
    assert server.get("/sleeps?0.3").body == b"slept"
    client.read_body(head)
    assert len(head.body) == 6_000_000
    (status, queue, run, all_), = times(server, "/stream")
    assert seconds(run) < 0.3 <= seconds(all_)


def test_the_pieces_of_a_stream_are_added(nginx):
    server = serve(nginx, APP, http=LOG)
    assert server.get("/steps").body == b"xxxx"
    (status, queue, run, all_), = times(server, "/steps")
    assert seconds(run) >= 0.2


def test_what_has_no_application(nginx):
    server = serve(nginx, APP, http=LOG)
    assert server.get("/ok").body == b"ok" and server.get("/static/missing").status == 404
    assert times(server, "/ok")[0][:3] == (200, "-", "-")
    assert times(server, "/static/missing")[0][:3] == (404, "-", "-")


def test_inline(nginx):
    server = serve(nginx, APP, http=LOG, more=OTHERS, apps=INLINE)
    assert server.get("/inline/").body == b"inline"
    (status, queue, run, all_), = times(server, "/inline/")
    # nginx's own clock stood still meanwhile.
    assert (status, queue) == (200, "0.000") and 0.05 <= seconds(run)


def test_errors_refusals_and_clients_that_left(nginx):
    server = serve(nginx, APP, threads="1 queue=1", http=LOG)
    assert server.get("/fails").status == 500
    status, queue, run, _ = times(server, "/fails")[0]
    assert status == 500 and seconds(queue) >= 0 and seconds(run) >= 0
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    leaves = ask(server, "/hello?leaves")
    assert server.get("/hello?refused").status == 503
    leaves.reset()
    status, queue, run, _ = times(server, "/hello?leaves")[0]
    assert status == 499 and seconds(queue) >= 0 and run in ("-", "0.000")
    status, queue, run, _ = times(server, "/hello?refused")[0]
    assert status == 503 and queue in ("-", "0.000") and run in ("-", "0.000")
    touch(server, "go")
    assert first.read_response().body == b"go"


def test_in_other_places(nginx):
    """Variables are for any directive; at the time of the head the queue is known."""
    server = serve(nginx, APP, more="""
        location /added { add_header X-Queue "$wsgi_queue_time"; wsgi_pass app.py; rewrite ^ /hello break;
                          wsgi_script_name ""; }
        location = /none { return 200 "[$wsgi_time$wsgi_queue_time]"; }
        """)
    seconds(server.get("/added").header("X-Queue"))
    assert server.get("/none").body == b"[]"
