"""wsgi_output_buffering on frees a thread while a slow client reads: what is left waits in memory and in a file."""

import hashlib

import pytest

from harness.apps import notes, serve as plain, settled, wait_notes
from harness.nginx import open_fds, rss, wait_for
from harness.threads import serve

MIB = 1024 * 1024
ON = "wsgi_output_buffering on;"
APP = """
    import hashlib

    def made(count):
        state = b"seed"
        for number in range(count):
            state = hashlib.sha512(state).digest()
            yield state * 1024

    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        def blocks():
            try:
                yield from made(int(environ["QUERY_STRING"]))
                note("end")
            finally:
                note("finally")
        return blocks()

    def at_list(environ, start_response):
        start_response("200 OK", PLAIN)
        class Listed(list):
            def close(self):
                note("end")
        return Listed(made(int(environ["QUERY_STRING"])))

    def at_written(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for block in made(int(environ["QUERY_STRING"])):
            write(block)
            note("written")
        return []

    def at_fails(environ, start_response):
        start_response("200 OK", PLAIN)
        yield from made(200)
        raise ValueError("boom")
    """


def wanted(count):
    state, found = b"seed", []
    for _ in range(count):
        state = hashlib.sha512(state).digest()
        found.append(state * 1024)
    return b"".join(found)


def temp_files(server):
    return [target for target in open_fds(server.worker).values() if "wsgi_temp" in target]


@pytest.mark.parametrize("how", ["plain", "tls", "h2"])
@pytest.mark.parametrize("kind", ["big", "list"])
def test_a_slow_client_does_not_hold_the_thread(nginx, how, kind):
    server = serve(nginx, APP, threads=1, http=ON, tls=True, h2c=True)
    assert server.get("/hello").body == b"hello"
    before = rss(server.worker)
    if how == "h2":
        client = server.h2(hold=True)
        stream = client.send_request("GET", f"/{kind}?300")
    else:
        client = server.connect(tls=how == "tls", rcvbuf=4096)
        client.send_request("GET", f"/{kind}?300")
    # The application is at its end while the client has read nothing, and its thread serves others.
    wait_notes(server, "end")
    assert server.get("/hello").body == b"hello"
    assert len(temp_files(server)) == 1
    wait_for(lambda: rss(server.worker) - before < 12 * MIB, lambda: f"{rss(server.worker) - before} bytes more")
    if how == "h2":
        client.hold = False
        client.release()
        client.finish(stream)
        assert stream.complete
        body = bytes(stream.body)
    else:
        body = client.read_response().body
    assert body == wanted(300)
    wait_for(lambda: not temp_files(server), "the file is gone")


def test_what_fits_needs_no_file(nginx):
    server = serve(nginx, APP, threads=1, http=ON)
    assert server.get("/big?0").body == b""
    for _ in range(3):
        assert server.get("/big?10").body == wanted(10)
    assert not temp_files(server)


def test_many_slow_clients_and_one_thread(nginx):
    server = serve(nginx, APP, threads=1, http=ON)
    clients = [server.connect(rcvbuf=4096) for _ in range(5)]
    for client in clients:
        client.send_request("GET", "/big?200")
    wait_notes(server, "finally", 5)
    assert server.get("/hello").body == b"hello"
    for client in clients:
        assert client.read_response().body == wanted(200)
    wait_for(lambda: not temp_files(server), "the files are gone")


def test_a_client_that_leaves_takes_its_file_along(nginx):
    server = serve(nginx, APP, threads=1, http=ON)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big?300")
    wait_notes(server, "end")
    assert temp_files(server)
    client.reset()
    wait_for(lambda: not temp_files(server), "the file is gone")
    assert notes(server, "finally") == ["finally"]
    assert server.get("/hello").body == b"hello"


def test_an_exception_after_much_has_been_buffered(nginx):
    server = serve(nginx, APP, threads=1, http=ON)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/fails")
    server.wait_for_log("raised ValueError: boom after the headers were sent")
    answer = client.read_response(strict=False)
    assert not answer.complete and wanted(200).startswith(answer.body)
    wait_for(lambda: not temp_files(server), "the file is gone")


def test_without_it_the_thread_waits_for_the_client(nginx):
    server = serve(nginx, APP, threads=1, http="wsgi_output_buffering off;")
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big?300")
    client.read_head()
    assert settled(lambda: notes(server, "end")) == []
    assert not temp_files(server)
    client.reset()
    wait_notes(server, "finally")


def test_a_flush_is_not_held_for_ever(nginx):
    """Inline and threaded answers are the same bytes."""
    bodies = set()
    for threads in (0, 2):
        server = plain(nginx, APP, f"wsgi_threads {threads}; {ON} location / {{ wsgi_pass app.py; }}")
        bodies.add(server.get("/written?40").body)
        bodies.add(server.get("/big?40").body)
    assert bodies == {wanted(40)}


@pytest.mark.parametrize("how", ["plain", "h2"])
def test_write_with_write_buffering_waits_for_nobody(nginx, how):
    server = serve(nginx, APP, threads=1, http="wsgi_write_buffering on;", h2c=True)
    if how == "h2":
        client = server.h2(hold=True)
        stream = client.send_request("GET", "/written?200")
    else:
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", "/written?200")
    wait_notes(server, "written", 200)
    assert server.get("/hello").body == b"hello"
    if how == "h2":
        client.hold = False
        client.release()
        client.finish(stream)
        assert stream.complete and bytes(stream.body) == wanted(200)
    else:
        assert client.read_response().body == wanted(200)
    wait_for(lambda: not temp_files(server), "the file is gone")
