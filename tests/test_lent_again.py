"""What a request lends to Python (start_response, write, wsgi.errors) is lent again, but only what nobody has kept."""

import pytest

THREADS = pytest.mark.parametrize("threads", [0, 2])


def serve(nginx, app, threads, http=""):
    return nginx(f"location / {{ wsgi_pass app.py; wsgi_threads {threads}; {http} }}", apps={"app.py": app})


@THREADS
@pytest.mark.parametrize("kept", ["start_response", "write", "environ", "errors", "weak"])
def test_what_is_kept_stays_with_its_request(nginx, threads, kept):
    server = serve(nginx, f"""
import weakref

kept = []


def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    thing = {{"start_response": start_response, "write": write, "environ": environ,
              "errors": environ["wsgi.errors"], "weak": weakref.ref(start_response)}}["{kept}"]
    kept.append(thing)
    if "{kept}" == "weak":
        return [str(sum(ref() is start_response for ref in kept)).encode()]
    return [str(sum(other is thing for other in kept)).encode()]
""", threads)
    with server.connect() as client:
        assert [client.request("GET", "/").text for _ in range(5)] == ["1"] * 5


@THREADS
def test_a_kept_start_response_belongs_to_no_other_request(nginx, threads):
    server = serve(nginx, """
kept = []


def application(environ, start_response):
    kept.append(start_response)
    if len(kept) > 1:
        try:
            kept[0]("500 Wrong", [])
        except RuntimeError as error:
            message = str(error)
    else:
        message = "first"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [message.encode()]
""", threads)
    answers = [server.get("/") for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert all("after its request ended" in answer.text for answer in answers[1:])


@THREADS
def test_nothing_of_a_response_is_left_for_the_next(nginx, threads):
    """An error after a head and held blocks, then an application that forgets start_response."""
    server = serve(nginx, """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/forgets":
        return [b"body"]
    start_response("201 Created", [("X-Left", "1")])
    if environ["PATH_INFO"] == "/raises":
        raise ValueError
    return [b"body"]
""", threads)
    for _ in range(3):
        assert server.get("/raises").status == 500
        assert server.get("/forgets").status == 500
        answer = server.get("/")
        assert (answer.status, answer.body) == (201, b"body")


def test_finalizers_of_held_blocks_run_where_they_may(nginx):
    """They run Python and give the GIL up, while other requests end."""
    server = serve(nginx, """
import time


class Block(bytes):
    def __del__(self):
        time.sleep(0.05)


def blocks(fails):
    yield Block(b"x")
    if fails:
        raise ValueError


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return blocks(environ["PATH_INFO"] == "/fails")
""", 8, "wsgi_output_buffering on;")
    clients = [server.connect() for _ in range(32)]
    for number, client in enumerate(clients):
        client.send_request("GET", "/fails" if number % 2 else "/")
    answers = [client.read_response().status for client in clients]
    assert answers == [200, 500] * 16


@THREADS
def test_what_is_logged_late_is_no_part_of_another_request(nginx, threads):
    server = serve(nginx, """
class Body:
    def __init__(self, errors):
        self.errors = errors

    def __iter__(self):
        yield b"body"

    def __del__(self):
        self.errors.write("left behind")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/late":
        return Body(environ["wsgi.errors"])
    environ["wsgi.errors"].write("a line\\n")
    return [b"body"]
""", threads)
    for _ in range(3):
        server.get("/late")
        server.get("/logs")
    lines = server.wait_for_log("a line", count=3)
    assert not any("left behind" in line for line in lines)
    server.wait_for_log("left behind", count=3)


def test_a_finalizer_that_takes_too_long_costs_nobody_his_answer(nginx):
    server = serve(nginx, """
import contextvars
import time

var = contextvars.ContextVar("var")


class Slow:
    def __del__(self):
        time.sleep(1.5)


def application(environ, start_response):
    var.set(Slow())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"body"]
""", 1, "wsgi_timeout 500ms;")
    answer = server.get("/")
    assert (answer.status, answer.body) == (200, b"body")


@THREADS
def test_a_context_that_leads_to_environ_keeps_nothing(nginx, threads):
    """Everything that was made for a request goes with it."""
    server = serve(nginx, """
import contextvars
import gc

var = contextvars.ContextVar("var")


def application(environ, start_response):
    var.set(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    gc.collect()
    return [str(sum(type(thing) is dict and "wsgi.input" in thing for thing in gc.get_objects())).encode()]
""", threads)
    with server.connect() as client:
        counts = [int(client.request("GET", "/").text) for _ in range(8)]
    assert counts[-1] == counts[2]
