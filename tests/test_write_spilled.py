"""write() over HTTP/2: nothing waits for the client, what does not fit into memory goes to a file of wsgi_temp_path."""

import pytest

from harness.apps import notes, serve, wait_notes
from harness.nginx import open_fds, rss, wait_for

BIG = 50 * 1024 * 1024
APP = f"""
    def at_big(environ, start_response):
        write = start_response("200 OK", PLAIN)
        block = bytes(range(256)) * 256
        for number in range(int(environ["QUERY_STRING"] or {BIG}) // len(block)):
            write(block)
        note("written")
        return Body(b"the end")

    def at_small(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"two ")
        note("written")
        return [b"three"]

    def at_failing(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for number in range(40):
            write(b"x" * 100000)
        raise ValueError("boom")

    def at_next(environ, start_response):
        return answer(start_response, b"next")
    """


TEMP = "wsgi_temp_path %%FOLDER%%/temp_wsgi;"


def temp_files(server):
    """Temp files that exist by name or are still open in a worker (nginx removes the name at once)."""
    named = [path for path in (server.folder / "temp_wsgi").rglob("*") if path.is_file()]
    return named + [target for target in open_fds(server.worker).values() if "temp_wsgi" in target]


@pytest.mark.parametrize("tls", [False, True])
def test_small_writes(nginx, tls):
    server = serve(nginx, APP, tls=True, h2c=True, http=TEMP)
    client = server.h2(tls=tls)
    for _ in range(3):
        assert client.request("GET", "/small").body == b"one two three"
    assert not temp_files(server)


@pytest.mark.inline_only
@pytest.mark.parametrize("tls", [False, True])
def test_50_mib_go_to_a_file_that_is_gone_afterwards(nginx, tls):
    server = serve(nginx, APP, tls=True, h2c=True, http=TEMP)
    client = server.h2(tls=tls, hold=True)
    client.request("GET", "/next")
    before = rss(server.worker)
    stream = client.send_request("GET", "/big")
    # The application is done long before the client takes anything.
    wait_notes(server, "written")
    assert rss(server.worker) - before < 8 * 1024 * 1024
    assert len(temp_files(server)) == 1
    client.hold = False
    client.release()
    client.finish(stream)
    assert stream.complete and len(stream.body) == BIG + 7
    assert stream.body == bytes(range(256)) * (BIG // 256) + b"the end"
    wait_for(lambda: not temp_files(server), lambda: f"temp file removed: {temp_files(server)}")
    assert rss(server.worker) - before < 8 * 1024 * 1024


@pytest.mark.inline_only
def test_other_streams_of_the_connection_go_on(nginx):
    server = serve(nginx, APP, h2c=True, http=TEMP)
    client = server.h2(hold=True)
    big = client.send_request("GET", "/big")
    wait_notes(server, "written")
    # Only the stream's own window is shut; the connection's is opened again.
    client.wait(lambda: len(big.body) >= 65535, "a full window")
    client.h2.increment_flow_control_window(1_000_000)
    client.flush()
    assert client.request("GET", "/next").body == b"next"
    assert client.request("GET", "/small").body == b"one two three"
    client.hold = False
    client.release()
    client.finish(big)
    assert len(big.body) == BIG + 7


@pytest.mark.inline_only
def test_a_reset_stream_removes_the_file(nginx):
    server = serve(nginx, APP, h2c=True, http=TEMP)
    client = server.h2(hold=True)
    stream = client.send_request("GET", "/big")
    wait_notes(server, "written")
    client.reset(stream)
    wait_notes(server, "close")
    wait_for(lambda: not temp_files(server), lambda: f"temp file removed: {temp_files(server)}")
    assert notes(server, "close") == ["close body"]
    client.release()
    client.hold = False
    client.h2.increment_flow_control_window(1_000_000)
    assert client.request("GET", "/next").body == b"next"


def test_an_exception_after_writes_resets_the_stream(nginx):
    server = serve(nginx, APP, h2c=True, http=TEMP)
    client = server.h2()
    stream = client.request("GET", "/failing")
    assert stream.reset is not None and not stream.complete
    server.wait_for_log("raised ValueError: boom")
    assert client.request("GET", "/next").body == b"next"
    wait_for(lambda: not temp_files(server), "temp file removed")


@pytest.mark.inline_only
def test_blocks_after_writes_wait_for_what_was_written(nginx):
    server = serve(nginx, """
        def at_then_blocks(environ, start_response):
            write = start_response("200 OK", PLAIN)
            for number in range(30):
                write(b"w" * 100000)
            note("written")
            for number in range(30):
                note("asked")
                yield b"b" * 100000
        """, h2c=True, http=TEMP)
    client = server.h2(hold=True)
    stream = client.send_request("GET", "/then_blocks")
    # Writes of a generator happen when its first block is asked for.
    wait_notes(server, "written")
    client.quiet(0.2)
    assert len(notes(server, "asked")) <= 1
    client.hold = False
    client.release()
    client.finish(stream)
    assert stream.complete and stream.body == b"w" * 3_000_000 + b"b" * 3_000_000


@pytest.mark.vendored_only
def test_http_3(nginx):
    server = serve(nginx, APP, h3=True, http=TEMP)
    small, big = server.h3(("GET", "/small"), ("GET", "/big?4194304"), timeout=60)
    assert small.body == b"one two three"
    assert big.complete and len(big.body) == 4194304 + 7
    wait_for(lambda: not temp_files(server), "temp file removed")
