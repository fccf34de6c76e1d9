"""The client has left: ngx.client_disconnected tells, wsgi_cancel_on_disconnect ends the work."""

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.conf import accepts, duplicate, not_allowed, refuses
from harness.nginx import wait_for
from harness.threads import ask, serve

NAME = "wsgi_cancel_on_disconnect"
APP = """
    from ngx_wsgi import Disconnected, Interrupted

    def at_polls(environ, start_response):
        gone = environ["ngx.client_disconnected"]
        note("begins", gone())
        deadline = time.monotonic() + 20
        while not gone() and time.monotonic() < deadline and not there("go"):
            time.sleep(0.001)
        note("gone", gone(), type(gone()).__name__)
        return answer(start_response, b"polled")

    def at_forever(environ, start_response):
        note("begins")
        ident = threading.get_ident()
        try:
            block_until_there("go")
            note("went on")
        except BaseException as error:
            note("raised", type(error) is Disconnected, isinstance(error, Interrupted), isinstance(error, Exception),
                 threading.get_ident() == ident)
            raise
        return answer(start_response, b"whole")

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        class Closing(Body):
            def close(self):
                note("close")
        def waits():
            note("begins")
            try:
                block_until_there("go")
            except BaseException as error:
                note("raised", type(error).__name__)
                raise
            return b"last"
        return Closing(b"first", waits)

    def at_catches(environ, start_response):
        note("begins")
        try:
            block_until_there("never")
        except Disconnected:
            note("caught")
        return answer(start_response, b"caught")

    kept = []

    def at_keep(environ, start_response):
        kept.append(environ["ngx.client_disconnected"])
        return answer(start_response, b"kept")

    def at_kept(environ, start_response):
        return answer(start_response, [kept[-1]() in (True, False), environ["ngx.client_disconnected"]()])
    """
ON = f"{NAME} on;"


def leave(server, how, target):
    """A client that asks for the target; returns how it leaves."""
    if how == "stream":
        client = server.h2()
        stream = client.send_request("GET", target)
        return lambda: client.reset(stream)
    client = server.connect(tls=how == "tls")
    client.send_request("GET", target)
    return client.reset if how == "reset" else client.close


@pytest.mark.parametrize("how", ["reset", "close", "tls", "stream"])
def test_client_disconnected(nginx, how):
    server = serve(nginx, APP, tls=True, h2c=True)
    leaves = leave(server, how, "/polls")
    assert wait_notes(server, "begins") == ["begins False"]
    assert notes(server, "gone") == []
    leaves()
    assert wait_notes(server, "gone") == ["gone True bool"]
    assert server.get("/hello").body == b"hello"


def test_a_client_that_stays(nginx):
    server = serve(nginx, APP)
    client = ask(server, "/polls")
    wait_notes(server, "begins")
    touch(server, "go")
    assert client.read_response().body == b"polled"
    assert notes(server, "gone") == ["gone False bool"]
    assert server.get("/keep").body == b"kept"
    assert server.get("/kept").json() == [True, False]


@pytest.mark.parametrize("how", ["reset", "close", "tls", "stream"])
def test_the_work_is_ended(nginx, how):
    server = serve(nginx, APP, threads=1, http=ON, tls=True, h2c=True)
    worker = server.worker
    leaves = leave(server, how, "/forever")
    wait_notes(server, "begins")
    leaves()
    assert wait_notes(server, "raised") == ["raised True True False True"]
    for _ in range(3):
        assert server.get("/hello").body == b"hello"
    assert not notes(server, "went on")
    assert server.worker == worker


def test_not_without_the_directive(nginx):
    server = serve(nginx, APP, threads=2)
    leaves = leave(server, "reset", "/forever")
    wait_notes(server, "begins")
    leaves()
    wait_for(lambda: server.status()["writing"] == 1, "nginx knows")
    assert server.get("/hello").body == b"hello"
    assert notes(server, "raised") == []
    touch(server, "go")
    wait_notes(server, "went on")


def test_a_stream_is_closed_once(nginx):
    server = serve(nginx, APP, threads=1, http=ON)
    client = server.connect()
    client.send_request("GET", "/stream")
    client.read_head()
    wait_notes(server, "begins")
    client.reset()
    assert wait_notes(server, "raised") == ["raised Disconnected"]
    wait_notes(server, "close")
    assert server.get("/hello").body == b"hello"
    assert notes(server, "close") == ["close"]


def test_it_may_be_caught(nginx):
    server = serve(nginx, APP, threads=1, http=ON)
    leaves = leave(server, "reset", "/catches")
    wait_notes(server, "begins")
    leaves()
    wait_notes(server, "caught")
    assert server.get("/hello").body == b"hello"


def test_it_is_no_error(nginx):
    """A client may leave: nothing for the one who reads the log."""
    server = serve(nginx, APP, threads=1, http=ON)
    leaves = leave(server, "reset", "/forever")
    wait_notes(server, "begins")
    leaves()
    wait_notes(server, "raised")
    assert server.get("/hello").body == b"hello"
    assert not server.log_lines(r"\[(error|warn)\]")


def test_the_next_request_of_the_thread_is_not_hit(nginx):
    """Clients that leave just as their answer comes."""
    server = serve(nginx, APP + """
    def at_short(environ, start_response):
        time.sleep(0.002)
        return answer(start_response, b"short")
    """, threads=1, http=ON)
    for turn in range(60):
        client = server.connect()
        client.send_request("GET", "/short")
        if turn % 3:
            settled(lambda: 0, quiet=turn / 20000)
        client.reset()
        assert server.get("/hello").body == b"hello"
    assert len(notes(server, "hello")) == 60


def test_a_request_that_was_answered_is_not_interrupted(nginx):
    server = serve(nginx, APP + """
    def at_late(environ, start_response):
        class Late(list):
            def close(self):
                note("closing")
                block_until_there("go")
                note("closed")
        start_response("200 OK", [("Content-Length", "4")])
        return Late([b"late"])
    """, threads=1, http=ON)
    assert server.get("/late").body == b"late"
    wait_notes(server, "closing")
    touch(server, "go")
    wait_notes(server, "closed")
    assert server.get("/hello").body == b"hello"


@pytest.mark.parametrize("value", ["on", "off"])
@pytest.mark.parametrize("threads", ["0", "4"])
def test_accepted(nginx, app, value, threads):
    app("")
    text = f"{NAME} {value};"
    accepts(nginx(f"{text} location / {{ {text} wsgi_threads {threads}; wsgi_pass app.py; }}", http=ON, start=False))


def test_refused(nginx):
    refuses(nginx(f"{NAME} on;\n{NAME} off;", start=False), f"{NAME} off;", duplicate(NAME))
    refuses(nginx(main=f"{NAME} on;", start=False), NAME, not_allowed(NAME))


def test_inline_it_is_accepted_and_does_nothing(nginx):
    server = serve(nginx, """
        def at_key(environ, start_response):
            return answer(start_response, "ngx.client_disconnected" in environ)
        """, threads=0, http=ON)
    assert server.get("/key").json() is False
