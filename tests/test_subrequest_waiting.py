"""A request that waits for its subrequests: what ends the waiting, and what becomes of the subrequests then."""

import pytest

from harness.apps import touch, wait_notes
from harness.nginx import wait_for
from harness.subrequests import LARGE, ask, behind, outcomes, serve

pytestmark = pytest.mark.inline_only

WAITING = """
    def at_wait(environ, start_response):
        name = environ["PATH_INFO"].split("/")[2]
        note("waiting", name)
        try:
            while not there(name):
                environ["ngx.sleep"](5)
                yield b""
            note("done", name)
        finally:
            note("left", name)
        yield from answer(start_response, name.encode())

    def at_impatient(environ, start_response):
        '''Waits a little, and then for as long as it takes.'''
        sub = environ["ngx.subrequest"]("/wait/late")
        environ["x-wsgiorg.suspend"](50)
        yield b""
        timed_out = bool(environ["x-wsgiorg.suspend_status"])
        error = raised(sub)
        note("impatient")
        while raised(sub):
            environ["ngx.sleep"](5)
            yield b""
        yield from answer(start_response, [timed_out, error, sub().body.decode()])
    """


def test_an_own_time_limit(nginx):
    server = serve(nginx, WAITING)
    client = server.connect()
    client.send_request("GET", "/impatient")
    wait_notes(server, "impatient")
    touch(server, "late")
    assert client.read_response().json() == [True, "RuntimeError", "late"]


def test_resume_ends_it_too(nginx):
    server = serve(nginx, WAITING, """
        resumes = []

        def at_pauses(environ, start_response):
            sub = environ["ngx.subrequest"]("/wait/late")
            resumes.append(environ["wsgi.pause_output"]())
            note("paused")
            yield b""
            yield from answer(start_response, [raised(sub)])

        def at_resumes(environ, start_response):
            return answer(start_response, [resumes.pop()()])
        """)
    client = server.connect()
    client.send_request("GET", "/pauses")
    wait_notes(server, "waiting late")
    assert server.get("/resumes").json() == [True]
    # The page ends when its part does.
    touch(server, "late")
    assert client.read_response().json() == ["RuntimeError"]


def test_other_suspensions_afterwards(nginx):
    server = serve(nginx, """
        def at_mixes(environ, start_response):
            [first] = yield from ask(environ, "/part/1")
            environ["ngx.sleep"](20)
            yield b""
            timed_out = bool(environ["x-wsgiorg.suspend_status"])
            [second] = yield from ask(environ, "/part/2")
            yield from answer(start_response, [first[2], timed_out, second[2], bool(environ["x-wsgiorg.suspend_status"])])
        """)
    assert server.get("/mixes").json() == ["1", True, "2", False]


def test_the_longest_suspension(nginx):
    """The page is given up; nginx ends it when its parts have ended."""
    server = serve(nginx, WAITING, server="location = /ask { wsgi_suspend_timeout 100ms; wsgi_pass app.py; }")
    client = server.connect()
    client.send_request("GET", "/ask?/wait/late,/part/x")
    server.wait_for_log("was suspended for longer than 0.1 s")
    touch(server, "late")
    assert client.read_response().status == 504
    assert client.request("GET", "/part/x").body == b"x"


def test_polling_without_a_suspension(nginx):
    """An application may as well yield empty items until it is done."""
    server = serve(nginx, WAITING, """
        def at_polls(environ, start_response):
            subs = [environ["ngx.subrequest"](f"/wait/{name}") for name in "abc"]
            environ["x-wsgiorg.suspend"](0)
            while any(raised(sub) for sub in subs):
                yield b""
            yield from answer(start_response, "".join(sub().body.decode() for sub in subs).encode())
        """)
    client = server.connect()
    client.send_request("GET", "/polls")
    wait_notes(server, "waiting", 3)
    for name in "cab":
        touch(server, name)
        wait_notes(server, f"done {name}")
    assert client.read_response().body == b"abc"


@pytest.mark.parametrize("http", ["1.1", "2", "tls"])
def test_the_client_leaves(nginx, http):
    server = serve(nginx, WAITING, """
        def at_asks(environ, start_response):
            try:
                yield from ask(environ, "/wait/one", "/part/x", "/wait/two")
            finally:
                note("left page")
        """, h2c=True, tls=True)
    if http == "2":
        client = server.h2()
        stream = client.send_request("GET", "/asks")
        wait_notes(server, "waiting", 2)
        client.reset(stream)
    else:
        client = server.connect(tls=http == "tls")
        client.send_request("GET", "/asks")
        wait_notes(server, "waiting", 2)
        client.close()
    wait_notes(server, "left", 3)
    assert ask(server, "/part/x")[0].body == b"x"


def test_a_slow_client_before_a_part(nginx):
    """The page has been sent as far as it was yielded before its part is asked for."""
    server = serve(nginx, WAITING, """
        def at_long(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"x" * 3_000_000
            [part] = yield from ask(environ, "/wait/part")
            yield part[2].encode()
        """)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/long")
    assert server.get("/part/y").body == b"y"
    touch(server, "part")
    assert client.read_response().body == b"x" * 3_000_000 + b"part"


def test_a_part_that_waits_leaves_what_came_before_alone(nginx):
    """The rest of a page goes on to a slow client while a part of it waits for something else."""
    size, go = 12_000_000, []

    def respond(handler, path, headers):
        wait_for(lambda: go, "the test")
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    with behind(respond) as other:
        server = serve(nginx, """
            resumes = []

            def at_pauses(environ, start_response):
                resumes.append(environ["wsgi.pause_output"]())
                note("paused")
                yield b""
                yield from answer(start_response, b"part")

            def at_resumes(environ, start_response):
                return answer(start_response, [resumes.pop()()])
            """, server=f"""
            location = /page {{ ssi on; ssi_types text/plain; root %%FOLDER%%; }}
            location = /far {{ proxy_pass http://127.0.0.1:{other.port}; proxy_buffers 100 128k; }}
            """)
        (server.folder / "page").write_text('<!--#include virtual="/far" --><!--#include virtual="/pauses" -->')
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", "/page")
        wait_notes(server, "paused")
        go.append(1)
        head = client.read_head()
        while len(head.body) < size:
            client.read_chunk(head)
    assert server.get("/resumes").json() == [True]
    while client.read_chunk(head):
        pass
    assert head.body == b"x" * size + b"part"


@pytest.mark.parametrize("how", ["quit", "hup"])
def test_a_worker_that_ends_gracefully(nginx, how):
    with behind(lambda handler, path, headers: (
            wait_for(lambda: go, "the test"),
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfar"))) as other:
        go = []
        server = serve(nginx, WAITING, server=f"location = /far {{ proxy_pass http://127.0.0.1:{other.port}; }}")
        client = server.connect()
        client.send_request("GET", "/ask?/far,/wait/near")
        wait_notes(server, "waiting near")
        wait_for(lambda: other.seen, "the server behind is asked")
        if how == "hup":
            server.hup(wait_old=False)
        else:
            server.signal("QUIT")
            server.wait_for_log("gracefully shutting down")
        go.append(1)
        touch(server, "near")
        assert [part.body for part in outcomes(client.read_response())] == [b"far", b"near"]


def test_a_worker_that_ends_at_once(nginx):
    server = serve(nginx, WAITING, """
        def at_asks(environ, start_response):
            try:
                yield from ask(environ, "/wait/one", "/part/x", "/wait/two")
            finally:
                note("left page")
        """)
    client = server.connect()
    client.send_request("GET", "/asks")
    wait_notes(server, "waiting", 2)
    server.signal("TERM")
    wait_notes(server, "left", 3)
