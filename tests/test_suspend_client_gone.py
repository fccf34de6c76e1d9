"""A client that leaves ends the suspension: close() once, and nobody waits for anything any more."""

import pytest

from harness.apps import notes, settled, wait_notes
from harness.nginx import wait_for
from harness.waiting import nothing_left, resume, send, serve, suspended

pytestmark = pytest.mark.inline_only

APP = """
    class Waiting(Body):
        def __next__(self):
            ask = ASKS[self.how]
            self.how = None
            if ask is None:
                raise StopIteration
            item = ask(self.environ)
            note("waits")
            return item

    ASKS = {
        None: None,
        "suspend": lambda environ: resumes.update(a=environ["x-wsgiorg.suspend"]()) or b"",
        "time": lambda environ: resumes.update(a=environ["x-wsgiorg.suspend"](30000)) or b"",
        "pause": lambda environ: resumes.update(a=environ["wsgi.pause_output"]()) or b"",
        "readable": lambda environ: environ["x-wsgiorg.fdevent.readable"](pair("a")),
        "writable": lambda environ: environ["x-wsgiorg.fdevent.writable"](full(pair("a")), 30.0),
        "poll": lambda environ: poll(environ, [pair("a")]),
        "polls": lambda environ: poll(environ, [pair("a"), pairs["a"][1]]),
        "sleep": lambda environ: environ["ngx.sleep"](30000),
    }

    def full(end):
        try:
            while True:
                end.send(b"x" * 65536)
        except BlockingIOError:
            return end

    def poll(environ, ends):
        for end in ends:
            environ["ngx.poll_register"](environ["ngx.connection_wrapper"](end), 1)
        environ["ngx.poll"](30000)
        return b""

    def at_how(environ, start_response):
        start_response("200 OK", PLAIN)
        body = Waiting()
        body.how, body.environ = environ["QUERY_STRING"], environ
        return body

    def at_how_begun(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"first"
        body = Waiting()
        body.how, body.environ = environ["QUERY_STRING"], environ
        yield from body

    def at_part(environ, start_response):
        for name in list(pairs):
            part(name)
        return answer(start_response, b"parted")
    """
EVERY = ["suspend", "time", "pause", "readable", "writable", "poll", "polls", "sleep"]


@pytest.mark.parametrize("how", EVERY)
@pytest.mark.parametrize("target", ["/how", "/how_begun"])
def test_whatever_it_waits_for(nginx, how, target):
    server = serve(nginx, APP, level="info")
    with nothing_left(server):
        client = send(server, f"{target}?{how}")
        assert settled(lambda: notes(server, "close")) == []
        client.reset()
        wait_notes(server, "close")
        server.get("/part")
    assert notes(server, "close") == ["close body"] and notes(server, "end") == []
    assert not server.log_lines(r"\[error\]")


@pytest.mark.parametrize("how", ["reset", "close", "half", "tls", "stream", "connection"])
def test_however_it_leaves(nginx, how):
    server = serve(nginx, APP, tls=True, h2c=True)
    with nothing_left(server):
        if how in ("stream", "connection"):
            client = server.h2()
            stream = client.send_request("GET", "/wait?a")
            suspended(server)
            client.reset(stream) if how == "stream" else client.close()
        else:
            client = send(server, "/wait?a", tls=how == "tls")
            {"reset": client.reset, "half": client.shutdown_write}.get(how, client.close)()
        assert wait_notes(server, "finally") == ["finally a"]
        assert resume(server, "a") is False
        client.close()
    assert notes(server) == ["waits a", "finally a"]


@pytest.mark.vendored_only
def test_over_http3(nginx):
    server = serve(nginx, APP, h3=True, check_connections=False)
    server.h3(("GET", "/began?a"), cancel_after=1)
    assert wait_notes(server, "finally") == ["finally a"]
    assert resume(server, "a") is False


def test_a_pipelined_request_does_not_hide_it(nginx):
    server = serve(nginx)
    with nothing_left(server):
        client = server.connect()
        client.send(b"GET /wait?a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        suspended(server)
        client.reset()
        assert wait_notes(server, "finally") == ["finally a"]


def test_499_in_the_access_log(nginx):
    server = serve(nginx)
    client = send(server, "/wait?a")
    client.reset()
    wait_notes(server, "finally")
    wait_for(lambda: any("/wait?a" in line and '" 499 ' in line for line in server.access_lines()),
             lambda: f"499: {server.access_lines()}")


def test_a_hundred_leave_at_once(nginx):
    server = serve(nginx)
    with nothing_left(server):
        clients = []
        for number in range(100):
            clients.append(server.connect())
            clients[-1].send_request("GET", f"/{'readable' if number % 2 else 'wait'}?{number}")
        suspended(server, 100)
        for client in clients:
            client.reset()
        assert len(set(wait_notes(server, "finally", 100))) == 100


def test_close_may_wait_for_nothing(nginx):
    """The request is over: asking for another suspension is an error, not a crash."""
    server = serve(nginx, """
        def at_close(environ, start_response):
            class Closing(Body):
                def close(self):
                    for key in ("x-wsgiorg.suspend", "wsgi.pause_output"):
                        note("close", raised(environ[key]))
            start_response("200 OK", PLAIN)
            def ask():
                environ["x-wsgiorg.suspend"]()
                note("waits")
                return b""
            return Closing(ask)
        """)
    with nothing_left(server):
        client = send(server, "/close")
        client.reset()
        said = wait_notes(server, "close", 2)
    assert set(said) <= {"close None", "close RuntimeError"}


def test_the_client_leaves_as_it_is_resumed(nginx):
    """Whichever comes first: finally runs once."""
    server = serve(nginx)
    with nothing_left(server):
        for turn in range(30):
            client = send(server, f"/wait?{turn}")
            other = server.connect()
            other.send_request("GET", f"/resume?{turn}")
            client.reset()
            assert other.read_response().json() in (True, False)
            other.close()
        wait_notes(server, "finally", 30)
    assert len(notes(server, "finally")) == 30


def test_connections_are_given_back(nginx):
    """More waiting requests, one after the other, than the worker has connections."""
    server = serve(nginx, APP, connections=24)
    with nothing_left(server):
        for turn in range(40):
            client = send(server, f"/how?{('readable', 'polls')[turn % 2]}")
            client.reset()
            wait_notes(server, "close", turn + 1)
            server.get("/part")
    assert not server.log_lines("worker_connections")
