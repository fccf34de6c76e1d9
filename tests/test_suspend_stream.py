"""A stream of small messages, with a pause after each: what server-sent events need."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.nginx import cpu, wait_for
from harness.waiting import nothing_left, serve

pytestmark = pytest.mark.inline_only

APP = """
    def at_events(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        number = 0
        try:
            while True:
                yield b"data: %d\\n\\n" % number
                number += 1
                yield environ["ngx.sleep"](10)
        finally:
            note("finally")

    def at_keep_alive(environ, start_response):
        # Nothing but empty items and time.
        start_response("200 OK", PLAIN)
        try:
            while not there("go"):
                yield environ["ngx.sleep"](5)
            yield b"end"
        finally:
            note("finally")

    def at_silent(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"begun "
        yield environ["ngx.sleep"](2500)
        yield b"done"
    """
SHORT = """keepalive_timeout 1s; send_timeout 1s; client_header_timeout 1s; client_body_timeout 1s;
           lingering_timeout 1s; reset_timedout_connection on;"""


@pytest.mark.parametrize("where", [{}, {"tls": True}])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_until_the_client_leaves(nginx, where, how):
    server = serve(nginx, APP, tls=True)
    with nothing_left(server):
        client = server.connect(**where)
        client.send_request("GET", "/events")
        head = client.read_head()
        for number in range(10):
            assert client.read_chunk(head) == b"data: %d\n\n" % number
        getattr(client, how)()
        wait_notes(server, "finally")
    assert notes(server) == ["finally"]


def test_streams_over_http2(nginx):
    server = serve(nginx, APP, h2c=True)
    with nothing_left(server):
        client = server.h2()
        streams = [client.send_request("GET", "/events") for _ in range(10)]
        client.wait(lambda: all(stream.body.count(b"data") > 5 for stream in streams), "six messages on each")
        for number, stream in enumerate(streams, 1):
            client.reset(stream)
            wait_notes(server, "finally", number)
        assert client.request("GET", "/hello").body == b"hello"
        client.close()


def test_a_client_that_does_not_read(nginx):
    """It is held up, and send_timeout ends it."""
    server = serve(nginx, """
        def at_much(environ, start_response):
            start_response("200 OK", PLAIN)
            try:
                while True:
                    yield b"x" * 100_000
                    yield environ["ngx.sleep"](1)
            finally:
                note("finally")
        """, "send_timeout 500ms; location / { wsgi_pass app.py; }")
    with nothing_left(server):
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", "/much")
        wait_notes(server, "finally")
    server.wait_for_log("client timed out")


def test_nothing_sent_and_the_client_leaves(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = server.connect()
        client.send_request("GET", "/keep_alive")
        assert settled(lambda: notes(server)) == []
        client.reset()
        wait_notes(server, "finally")


@pytest.mark.parametrize("http", ["1.1", "tls", "2"])
def test_other_times_of_nginx_do_not_end_it(nginx, http):
    """Those for clients that are slow or idle: this one waits for us."""
    server = serve(nginx, APP, SHORT + "location / { wsgi_pass app.py; }", tls=True, h2c=True)
    if http == "2":
        client = server.h2()
        stream = client.request("GET", "/silent")
        assert (stream.complete, stream.body) == (True, b"begun done")
    else:
        assert server.get("/silent", tls=http == "tls").body == b"begun done"
    assert not server.log_lines("timed out")


def test_the_worker_sleeps_between_messages(nginx):
    server = serve(nginx, APP.replace("](10)", "](200)"))
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.send_request("GET", "/events")
    wait_for(lambda: all(client.read_head().status == 200 for client in clients), "heads")
    used = cpu(server.worker)
    settled(lambda: 0, quiet=1.0)
    assert cpu(server.worker) - used < 0.5
