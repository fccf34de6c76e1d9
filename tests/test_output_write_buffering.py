"""wsgi_write_buffering: write() only collects, in memory and then in a file; the head goes out after the call."""

import gzip
import os
import subprocess

import pytest

from harness.apps import forget, notes, serve, settled, touch, wait_notes
from harness.http import Truncated
from harness.nginx import open_fds, rss, wait_for

MIB = 1024 ** 2
LINES = b"".join(b"%07d\n" % number for number in range(5000))
ON = "location / { wsgi_write_buffering on; wsgi_pass app.py; }"
TEMP = "wsgi_temp_path %%FOLDER%%/temp_wsgi 1 2;"
APP = """
    def at_list(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"two ")
        return [b"three ", b"four"]

    def at_nothing(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"")
        write(b"two")
        return []

    def at_generator(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        return Body(b"two ", b"", b"three")

    def at_inside(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"zero ")
        def blocks():
            yield b"one "
            write(b"two ")
            yield b"three "
            write(b"four")
        return blocks()

    def at_wait(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"x" * 2000)
        note("written")
        block_until_there("go")
        write(b"end")
        return []

    def at_pause(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"written ")
        def blocks():
            while not there("go"):
                time.sleep(0.01)
                yield b""
            yield b"yielded"
        return blocks()

    def at_replaced(environ, start_response):
        write = start_response("200 OK", PLAIN + [("X-First", "1"), ("Set-Cookie", "a=1")])
        write(b"thrown away " * int(environ["QUERY_STRING"] or 1))
        write = start_response("404 Changed", PLAIN + [("X-Second", "2")], planned())
        write(b"kept ")
        return [b"returned"]

    def at_raises(environ, start_response):
        write = start_response("200 OK", PLAIN + [("X-First", "1")])
        write(b"x" * int(environ["QUERY_STRING"] or 10))
        raise ValueError("boom")

    def at_big(environ, start_response):
        write = start_response("200 OK", PLAIN)
        block = bytes(range(256)) * 256
        for number in range(int(environ["QUERY_STRING"])):
            write(block)
        note("written")
        return Body(b"the end", name="big")

    def at_biglist(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for number in range(int(environ["QUERY_STRING"])):
            write(b"%07d\\n" % number)
        return [b"the end"]

    def at_length(environ, start_response):
        length, size = environ["QUERY_STRING"].split(",")
        write = start_response("200 OK", [("Content-Length", length)])
        note(raised(write, b"y" * int(size)))
        return []

    def at_status(environ, start_response):
        write = start_response(environ["QUERY_STRING"] + " Own", PLAIN + [("ETag", '"v1"')])
        write(b"written")
        return [b"returned"]

    def at_file(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"before ")
        return environ["wsgi.file_wrapper"](open(os.path.join(HERE, "data"), "rb"))

    def at_late(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"written ")
        return Body(b"yielded ", ValueError("late"))

    def at_slowly(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for number in range(200):
            write(b"w" * 100_000)
        note("written")
        def blocks():
            for number in range(3):
                note("asked")
                yield b"b" * 100
        return blocks()

    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/list" -->|<!--#include virtual="/biglist?5000" -->]']

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
BLOCK = bytes(range(256)) * 256


def spilled(server, folder="temp_wsgi"):
    """Temp files: those with a name, and those that a worker still has open although the name is gone."""
    path = server.folder / folder
    named = [str(file) for file in path.rglob("*") if file.is_file()]
    held = [target for target in open_fds(server.worker).values() if target.startswith(str(path))]
    return named + held


def all_gone(server, folder="temp_wsgi"):
    wait_for(lambda: not spilled(server, folder), lambda: f"temp files removed: {spilled(server, folder)}")


@pytest.fixture
def server(nginx):
    made = serve(nginx, APP, ON, h2c=True, tls=True, http=TEMP + "wsgi_block_warning off;")
    (made.folder / "data").write_bytes(b"the data")
    return made


def test_bodies(server):
    for client in (server.connect(), server.connect(tls=True), server.h2(), server.h2(tls=True)):
        for _ in range(2):
            assert client.request("GET", "/list").body == b"one two three four"
            assert client.request("GET", "/nothing").body == b"one two"
            assert client.request("GET", "/generator").body == b"one two three"
            assert client.request("GET", "/inside").body == b"zero one two three four"
            assert client.request("GET", "/file").body == b"before the data"
            assert client.request("GET", "/biglist?5000").body == LINES + b"the end"
    wait_for(lambda: not spilled(server), "the file to be closed")


def test_the_length_is_known_if_a_list_is_returned(server):
    client = server.connect()
    for target, length in (("/list", 18), ("/nothing", 7), ("/biglist?5000", 40_007)):
        answer = client.request("GET", target)
        assert (answer.header("Content-Length"), answer.chunked) == (str(length), False)
        # And so an HTTP/1.0 client may keep its connection.
        answer = client.request("GET", target, [("Connection", "keep-alive")], version="1.0")
        assert answer.header("Connection") == "keep-alive" and len(answer.body) == length
    answer = client.request("GET", "/generator")
    assert answer.header("Content-Length") is None and answer.chunked


def test_off_nothing_of_this(nginx):
    server = serve(nginx, APP, "location / { wsgi_pass app.py; }", http=TEMP)
    client = server.connect()
    assert client.request("GET", "/list").header("Content-Length") is None
    with pytest.raises(Truncated):
        server.get("/raises")


def test_the_head_goes_out_when_the_application_has_returned(server):
    client = server.connect()
    client.send_request("GET", "/wait")
    wait_notes(server, "written")
    # Nothing has been sent, not even to the kernel: the application is inside the call still.
    client.sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.sock.recv(1)
    client.sock.settimeout(10)
    touch(server, "go")
    assert client.read_response().body == b"x" * 2000 + b"end"


def test_what_was_written_leaves_before_the_first_block(server):
    client = server.connect()
    client.send_request("GET", "/pause")
    answer = client.read_head()
    assert client.read_chunk(answer) == b"written "
    touch(server, "go")
    client.read_body(answer)
    assert answer.body == b"written yielded"


@pytest.mark.parametrize("times", [1, 100_000])
def test_exc_info_replaces_the_head_and_drops_what_was_written(server, times):
    """In memory, and in a file."""
    for client in (server.connect(), server.h2()):
        for _ in range(2):
            answer = client.request("GET", f"/replaced?{times}")
            assert (answer.status, answer.body) == (404, b"kept returned")
            assert answer.header("X-Second") == "2" and answer.header("Content-Length") == "13"
            assert answer.header("X-First") is None and answer.header("Set-Cookie") is None
    all_gone(server)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_an_exception_after_write_is_a_clean_500(server, size):
    for client in (server.connect(), server.h2()):
        answer = client.request("GET", f"/raises?{size}")
        assert answer.status == 500 and answer.header("X-First") is None and b"xxx" not in answer.body
    server.wait_for_log("raised ValueError: boom", count=2)
    assert not server.log_lines("after the headers were sent")
    all_gone(server)
    assert server.get("/hello").body == b"hello"


def test_an_error_page_after_write(nginx):
    server = serve(nginx, APP, "error_page 500 = /hello;" + ON, http=TEMP)
    answer = server.get("/raises?100000")
    assert (answer.status, answer.body) == (200, b"hello")
    all_gone(server)


def test_an_exception_of_the_iteration_is_too_late(server):
    with pytest.raises(Truncated) as caught:
        server.get("/late")
    assert (caught.value.response.status, caught.value.response.body) == (200, b"written yielded ")


def test_content_length_is_exceeded(server):
    client = server.connect()
    answer = client.request("GET", "/length?5,9")
    assert (answer.header("Content-Length"), answer.body) == ("5", b"yyyyy")
    assert client.request("GET", "/length?50000,90000").body == b"y" * 50_000
    assert wait_notes(server, "", 2) == ["ValueError", "ValueError"]
    # Fewer than promised.
    with pytest.raises(Truncated):
        server.get("/length?9,5")
    all_gone(server)


def test_content_length_that_fits(server):
    answer = server.get("/length?20000,20000")
    assert (answer.header("Content-Length"), answer.body) == ("20000", b"y" * 20_000)


def test_answers_without_a_body(server):
    client = server.connect()
    for _ in range(2):
        answer = client.request("HEAD", "/list")
        assert (answer.status, answer.header("Content-Length")) == (200, "18")
        assert client.request("HEAD", "/biglist?5000").header("Content-Length") == "40007"
        assert client.request("HEAD", "/generator").status == 200
        for status in (204, 304):
            assert client.request("GET", f"/status?{status}").status == status
        assert client.request("GET", "/status?200", [("If-None-Match", '"v1"')]).status == 304
        # nginx ends a connection after an answer of this kind.
        assert server.get("/status?200", [("If-Match", '"v2"')]).status == 412
        assert client.request("GET", "/status?200").body == b"writtenreturned"
        assert client.request("GET", "/hello").body == b"hello"
    all_gone(server)


def test_no_file_for_what_fits_into_memory(nginx):
    server = serve(nginx, APP, "location / { wsgi_write_buffering on; wsgi_write_buffer_size 64k; wsgi_pass app.py; }",
                   http=TEMP)
    client = server.connect()
    client.send_request("GET", "/wait")
    wait_notes(server, "written")
    wait_for(lambda: not spilled(server), "the file to be closed")
    touch(server, "go")
    assert len(client.read_response().body) == 2003


@pytest.mark.parametrize("http", ["1.1", "2", "tls"])
def test_200_mib_go_through_a_file(nginx, http):
    server = serve(nginx, APP, "location / { wsgi_write_buffering on; wsgi_write_buffer_size 4k; wsgi_pass app.py; }",
                   http=TEMP + "wsgi_block_warning off;", h2c=True, tls=True)
    count = 200 * MIB // len(BLOCK)
    server.get("/hello")
    before = rss(server.worker)
    if http == "2":
        client = server.h2(hold=True)
        stream = client.send_request("GET", f"/big?{count}")
    else:
        client = server.connect(rcvbuf=65536, tls=http == "tls")
        client.send_request("GET", f"/big?{count}")
    wait_notes(server, "written", timeout=60)
    # All of it is written, though the client has taken next to nothing.
    assert len(spilled(server)) == 1
    assert rss(server.worker) - before < 8 * MIB
    if http == "2":
        client.hold = False
        client.release()
        client.timeout = 60
        client.finish(stream)
        assert stream.complete and bytes(stream.body) == BLOCK * count + b"the end"
    else:
        client.sock.settimeout(60)
        answer = client.read_response()
        assert answer.complete and answer.body == BLOCK * count + b"the end"
    assert rss(server.worker) - before < 8 * MIB
    all_gone(server)
    wait_notes(server, "close big")


def test_the_file_lies_in_its_levels(nginx):
    """A level is a folder for the last characters of the name; nginx removes the name as soon as the file is open."""
    server = serve(nginx, APP, ON, http=TEMP)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big?100")
    wait_notes(server, "written")
    (path,) = spilled(server)
    parts = os.path.relpath(path.removesuffix(" (deleted)"), server.folder / "temp_wsgi").split("/")
    name = parts[-1]
    assert parts[:-1] == [name[-1], name[-3:-1]]
    assert len(client.read_response().body) == 100 * len(BLOCK) + 7
    all_gone(server)


@pytest.mark.parametrize("http", ["1.1", "2"])
def test_a_client_that_leaves_in_the_middle(server, http):
    if http == "2":
        client = server.h2(hold=True)
        stream = client.send_request("GET", "/big?200")
        wait_notes(server, "written")
        client.wait(lambda: len(stream.body) >= 65535, "a full window")
        assert len(spilled(server)) == 1
        client.reset(stream)
    else:
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", "/big?200")
        client.read_head()
        assert len(spilled(server)) == 1
        client.reset()
    wait_notes(server, "close big")
    all_gone(server)
    assert notes(server, "close big") == ["close big"]
    assert server.get("/hello").body == b"hello"


def test_a_client_that_has_left_before_the_application_returns(server):
    client = server.connect()
    client.send_request("GET", "/wait")
    wait_notes(server, "written")
    client.reset()
    touch(server, "go")
    assert server.get("/hello").body == b"hello"
    all_gone(server)


def test_a_generator_after_much_was_written_waits_for_the_client(server):
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/slowly")
    wait_notes(server, "written")
    asked = settled(lambda: len(notes(server, "asked")))
    assert asked <= 1
    answer = client.read_response()
    assert answer.body == b"w" * 20_000_000 + b"b" * 300


def test_many_requests_leave_memory_and_files_alone(server):
    client = server.connect()
    for _ in range(20):
        client.request("GET", "/biglist?5000")
    before = rss(server.worker)
    for _ in range(300):
        assert len(client.request("GET", "/biglist?5000").body) == 40_007
    assert rss(server.worker) - before < 4 * MIB
    all_gone(server)


def test_in_a_subrequest(nginx):
    server = serve(nginx, APP, "location / { ssi on; wsgi_write_buffering on; wsgi_pass app.py; }", http=TEMP, h2c=True)
    wanted = b"[one two three four|" + LINES + b"the end]"
    for client in (server.connect(), server.h2()):
        for _ in range(2):
            assert client.request("GET", "/page").body == wanted
    all_gone(server)


def test_gzip_and_ranges(nginx):
    server = serve(nginx, APP, "location / { wsgi_write_buffering on; wsgi_allow_ranges on; gzip on; gzip_types *;"
                               " gzip_min_length 1; wsgi_pass app.py; }", http=TEMP)
    wanted = LINES + b"the end"
    client = server.connect()
    assert gzip.decompress(client.request("GET", "/biglist?5000", [("Accept-Encoding", "gzip")]).body) == wanted
    answer = client.request("GET", "/biglist?5000", [("Range", "bytes=4000-12000")])
    assert (answer.status, answer.body) == (206, wanted[4000:12001])
    answer = client.request("GET", "/biglist?5000", [("Range", "bytes=-10")])
    assert (answer.status, answer.body) == (206, wanted[-10:])


@pytest.fixture
def small_disk(folder):
    """A file system of one MiB."""
    path = folder / "small"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount is not permitted: {done.stderr.strip()}")
    yield path
    # Still open in a worker that has not ended yet: lazily.
    subprocess.run(["umount", "-l", str(path)], check=True)


FULL = """
    import errno

    def at_caught(environ, start_response):
        write = start_response("200 OK", PLAIN)
        try:
            for number in range(100):
                write(b"x" * 100_000)
        except OSError as error:
            # The file that could not grow is named, as by open() and others.
            note(error.errno == errno.ENOSPC, error.strerror, os.path.dirname(error.filename or ""))
            start_response("507 Full", PLAIN, sys.exc_info())
            return [b"the disk is full"]

    def at_uncaught(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for number in range(100):
            write(b"x" * 100_000)
        return []

    def at_swallowed(environ, start_response):
        write = start_response("200 OK", PLAIN)
        note(raised(write, b"x" * 5_000_000))
        note(raised(write, b"y"))
        return [b"end"]

    def at_flushed(environ, start_response):
        write = start_response("200 OK", PLAIN)
        note(raised(write, b"x" * 5_000_000))
        note(raised(environ["x-wsgiorg.flush"]))
        yield b"nobody asked"
        yield b"for this"
    """


@pytest.fixture
def full(nginx, small_disk):
    server = serve(nginx, APP + FULL, ON, http="wsgi_temp_path %%FOLDER%%/small/wsgi; wsgi_block_warning off;",
                   h2c=True)
    server.allow(r"\[crit\].*No space left on device")
    return server


def test_a_full_disk_is_an_oserror(full):
    worker = full.worker
    for client in (full.connect(), full.h2()):
        forget(full)
        answer = client.request("GET", "/caught")
        assert (answer.status, answer.body) == (507, b"the disk is full")
        (note,) = notes(full)
        assert note.startswith(f"True No space left on device {full.folder}/small/wsgi")
        all_gone(full, "small")
        assert client.request("GET", "/hello").body == b"hello"
        # There is room again.
        assert len(client.request("GET", "/biglist?50000").body) == 400_007
    assert full.worker == worker


def test_a_full_disk_that_nobody_catches_is_500(full):
    worker = full.worker
    for _ in range(3):
        assert full.get("/uncaught").status == 500
        assert full.h2().request("GET", "/uncaught").status == 500
        all_gone(full, "small")
    full.wait_for_log(r"raised OSError: \[Errno 28\] No space left on device", count=6)
    assert full.get("/list").body == b"one two three four"
    assert full.worker == worker


def test_a_full_disk_that_is_not_noticed_is_no_complete_answer(full):
    client = full.connect()
    client.send_request("GET", "/swallowed")
    try:
        answer = client.read_response()
        # The block that did not fit is missing as a whole, or the answer is an error.
        assert answer.status == 500 or answer.body in (b"end", b"yend")
    except Truncated:
        pass
    assert notes(full)[0] == "OSError"
    assert full.get("/hello").body == b"hello"
    all_gone(full, "small")


@pytest.mark.inline_only
def test_a_full_disk_that_is_flushed_over_sends_no_body_without_a_head(full):
    for client in (full.connect(), full.h2()):
        forget(full)
        assert client.request("GET", "/flushed").status == 500
        assert notes(full) == ["OSError", "ConnectionResetError"]
        assert full.get("/hello").body == b"hello"


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user for the workers")
def test_a_folder_that_may_not_be_written(nginx):
    server = serve(nginx, APP + FULL, ON, http=TEMP + "wsgi_block_warning off;")
    server.allow(r"\[crit\].*temp_wsgi")
    # Taken away while nginx runs; root may write anywhere, so it is a file that is in the way.
    for path in (server.folder / "temp_wsgi").iterdir():
        path.rmdir()
    (server.folder / "temp_wsgi").rmdir()
    (server.folder / "temp_wsgi").write_text("")
    for _ in range(2):
        assert server.get("/uncaught").status == 500
        assert server.get("/list").body == b"one two three four"
    assert server.log_lines(r"raised OSError|raised NotADirectoryError")
