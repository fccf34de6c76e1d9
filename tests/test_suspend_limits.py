"""wsgi_timeout, wsgi_slow_log, wsgi_block_warning and $wsgi_time: suspended time is nobody's work."""

import re

import pytest

from harness.apps import wait_notes
from harness.nginx import wait_for
from harness.waiting import nothing_left, resume, send, serve

pytestmark = pytest.mark.inline_only

APP = """
    def at_long(environ, start_response):
        # Far longer suspended than any limit below.
        start_response("200 OK", PLAIN)
        for _ in range(3):
            environ["x-wsgiorg.suspend"](400)
            yield b""
            yield b"."

    def at_works(environ, start_response):
        # Too long at work, after a suspension.
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.suspend"](50)
        yield b""
        deadline = time.monotonic() + 20
        try:
            while time.monotonic() < deadline:
                sum(range(1000))
        finally:
            note("finally")

    def at_holds(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.suspend"](10)
        yield b""
        time.sleep(0.2)
        yield b"held"
    """


def test_wsgi_timeout(nginx):
    server = serve(nginx, APP, http="wsgi_timeout 300ms; wsgi_block_warning off;")
    with nothing_left(server):
        assert server.get("/long").body == b"..."
    assert not server.log_lines(r"\[(error|warn)\]")


def test_wsgi_timeout_while_others_are_suspended(nginx):
    """The one that works too long is interrupted, and nobody else."""
    server = serve(nginx, APP, http="wsgi_timeout 300ms; wsgi_block_warning off;")
    client = send(server, "/wait?a")
    assert server.get("/works").status == 504
    wait_notes(server, "finally")
    assert resume(server, "a") is True
    assert client.read_response().body == b"done a"
    assert len(server.log_lines(r"\(wsgi_timeout\), request")) == 1


def test_wsgi_slow_log(nginx):
    server = serve(nginx, APP, http="wsgi_slow_log 200ms; wsgi_block_warning off;")
    assert server.get("/long").body == b"..."
    assert server.get("/holds").body == b"held"
    assert not server.log_lines("wsgi_slow_log.*GET /long")
    assert not server.log_lines(r"wsgi: .*/long")


def test_wsgi_block_warning(nginx):
    server = serve(nginx, APP)
    assert server.get("/long").body == b"..."
    assert not server.log_lines("held the event loop")
    assert server.get("/holds").body == b"held"
    server.wait_for_log("held the event loop for 2")


def test_wsgi_time(nginx):
    """The embedded variable of the access log."""
    server = serve(nginx, APP, http="""log_format times "$uri wsgi_time=$wsgi_time request_time=$request_time";
                   access_log %%FOLDER%%/times.log times;""")
    assert server.get("/long").body == b"..."
    assert server.get("/hello").body == b"hello"

    def line():
        path = server.folder / "times.log"
        return re.search(r"/long wsgi_time=(\S+) request_time=(\S+)", path.read_text() if path.exists() else "")
    found = wait_for(line, "the line of the request")
    assert float(found[2]) >= 1.1 > 0.6 > float(found[1])


def test_the_worker_goes_on_meanwhile(nginx):
    """Static files, other applications, and the same one."""
    server = serve(nginx, APP, "location / { wsgi_pass app.py; } location /static/ { alias %%FOLDER%%/; }")
    (server.folder / "file").write_text("static")
    clients = [send(server, f"/wait?{number}") for number in range(20)]
    for _ in range(20):
        assert server.get("/static/file").body == b"static"
        assert server.get("/hello").body == b"hello"
    for number, client in enumerate(clients):
        assert resume(server, number) is True
        assert client.read_response().body == b"done %d" % number
