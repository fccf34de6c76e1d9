"""wsgi.file_wrapper: which files nginx sends by itself, through which filters, and when they are closed."""

import gzip
import os

import pytest

from harness.apps import notes, serve, settled, wait_notes
from harness.http import Truncated
from harness.nginx import THREADS, open_fds, rss, wait_for

APP = """
    import io
    import socket

    PATH = os.path.join(HERE, "data")

    def at_file(environ, start_response):
        headers = [("Content-Type", "text/plain")]
        wanted = dict(pair.split("=") for pair in environ["QUERY_STRING"].split("&") if pair)
        file = open(PATH, "rb", -1 if "buffered" in wanted else 0)
        if "buffered" in wanted:
            file.read(1)
        file.seek(int(wanted.get("from", 0)))
        if "length" in wanted:
            headers.append(("Content-Length", wanted["length"]))
        start_response(wanted.get("status", "200") + " Status", headers)
        return environ["wsgi.file_wrapper"](file, 65536)

    class Noting(io.FileIO):
        def read(self, size=-1):
            note("read")
            return super().read(size).replace(b"0", b"o")

        def close(self):
            if not self.closed:
                note("close")
            super().close()

    def at_noting(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](Noting(PATH), 200_000)

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
DATA = b"".join(b"%07d\n" % number for number in range(200_000))


@pytest.fixture
def files(nginx):
    def make(text="", server="location / { wsgi_pass app.py; }", data=DATA, **options):
        made = serve(nginx, APP + text, server, **options)
        (made.folder / "data").write_bytes(data)
        return made
    return make


def data_fds(server):
    return [number for number, target in open_fds(server.worker).items() if "/data" in target]


def all_closed(server):
    wait_for(lambda: not data_fds(server), lambda: f"files left open: {open_fds(server.worker)}")


@pytest.mark.parametrize("how", ["plain", "nosendfile", "tls", "h2", "threads", "1.0"])
def test_a_regular_file_is_sent_from_its_position_with_its_length(files, how):
    directive = {"plain": "sendfile on;", "threads": "sendfile on; aio threads;"}.get(how, "sendfile off;")
    server = files(server=f"location / {{ {directive} wsgi_pass app.py; }}", tls=True, h2c=True)
    if how == "h2":
        client = server.h2()
        def ask(target):
            return client.request("GET", target)
    else:
        options = {"tls": how == "tls", "version": "1.0" if how == "1.0" else "1.1"}
        def ask(target):
            return server.get(target, **options)
    for start in (0, 9, 1_000_000, len(DATA)):
        for buffered in ("", "&buffered=1"):
            answer = ask(f"/file?from={start}{buffered}")
            assert (answer.status, answer.body) == (200, DATA[start:])
            # The size of a regular file is known, and an HTTP/1.0 client would not see a truncation otherwise.
            assert answer.header("Content-Length") == str(len(DATA) - start)
    all_closed(server)


@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_a_regular_file_is_not_read_by_python(files, sendfile):
    server = files(server=f"location / {{ sendfile {sendfile}; wsgi_pass app.py; }}")
    with open(server.folder / "data", "wb") as file:
        file.truncate(20_000_000)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/file?from=1000")
    client.read_head()
    def positions():
        found = []
        for number in data_fds(server):
            with open(f"/proc/{server.worker}/fdinfo/{number}") as info:
                found.append(int(info.readline().split()[1]))
        return found
    # nginx says where it reads with each call; Python's read() would move the position of the file.
    assert set(settled(positions)) == {1000}
    assert len(client.read_exactly(20_000_000 - 1000)) == 20_000_000 - 1000
    all_closed(server)


def test_a_subclass_that_may_read_otherwise_is_read(files):
    server = files()
    assert server.get("/noting").body == DATA.replace(b"0", b"o")
    wait_notes(server, "close")
    # Eight reads with bytes, one at the end.
    assert notes(server) == ["read"] * 9 + ["close"]


def test_content_length_of_the_application_cuts_or_betrays_the_file(files):
    server = files()
    client = server.connect()
    answer = client.request("GET", "/file?length=100&from=50")
    assert (answer.header("Content-Length"), answer.body) == ("100", DATA[50:150])
    answer = client.request("GET", f"/file?length={len(DATA)}")
    assert answer.body == DATA
    with pytest.raises(Truncated) as caught:
        client.request("GET", f"/file?length={len(DATA) + 10}")
    assert caught.value.response.body == DATA
    server.wait_for_log(f"sent {len(DATA)} of the {len(DATA) + 10} bytes of its Content-Length")
    all_closed(server)


def test_head_and_statuses_without_a_body(files):
    server = files()
    client = server.connect()
    answer = client.request("HEAD", "/file?from=8")
    assert (answer.status, answer.header("Content-Length")) == (200, str(len(DATA) - 8))
    for status in (204, 304):
        assert client.request("GET", f"/file?status={status}").status == status
    assert client.request("GET", "/hello").body == b"hello"
    all_closed(server)


def test_an_empty_file(files):
    server = files(data=b"")
    client = server.connect()
    for target in ("/file", "/file?buffered=1", "/noting"):
        answer = client.request("GET", target)
        assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert client.request("GET", "/hello").body == b"hello"


def test_through_gzip(files):
    server = files(server="location / { gzip on; gzip_types *; gzip_min_length 1; wsgi_pass app.py; }", tls=True)
    for tls in (False, True):
        for target in ("/file", "/file?buffered=1"):
            answer = server.get(target, [("Accept-Encoding", "gzip")], tls=tls)
            assert answer.header("Content-Encoding") == "gzip"
            assert gzip.decompress(answer.body) == DATA
    all_closed(server)


def test_through_ssi_as_a_subrequest(files):
    server = files("""
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/file?from=1599992" -->|<!--#include virtual="/file?buffered=1" -->]']
    """, "location / { ssi on; wsgi_pass app.py; }")
    assert server.get("/page").body == b"[" + DATA[-8:] + b"|" + DATA + b"]"
    all_closed(server)


def test_what_is_no_regular_file_is_read(files):
    server = files("""
    class Named:
        \"\"\"No descriptor, only a read().\"\"\"
        def __init__(self, data):
            self.inner = io.BytesIO(data)

        def read(self, size=-1):
            note("size", size)
            return self.inner.read(size)

    class Lying(Named):
        def fileno(self):
            raise io.UnsupportedOperation("fileno")

    class Strange(Named):
        def fileno(self):
            return "not a number"

    def pipe():
        reading, writing = os.pipe()
        os.write(writing, b"through a pipe")
        os.close(writing)
        return open(reading, "rb")

    def pair():
        one, two = socket.socketpair()
        one.sendall(b"through a socket")
        one.close()
        file = two.makefile("rb")
        two.close()
        return file

    KINDS = {"named": lambda: Named(b"x" * 10000), "lying": lambda: Lying(b"lies"), "pipe": pipe, "pair": pair,
             "strange": lambda: Strange(b"strange"), "bytesio": lambda: io.BytesIO(b"memory"),
             "device": lambda: open("/dev/null", "rb"), "proc": lambda: open("/proc/self/comm", "rb")}

    def at_kind(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](KINDS[environ["QUERY_STRING"]](), 4000)

    def at_offset(environ, start_response):
        file = io.BytesIO(b"0123456789")
        file.seek(3)
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](file)
    """)
    client = server.connect()
    for kind, body in (("named", b"x" * 10000), ("lying", b"lies"), ("pipe", b"through a pipe"), ("device", b""),
                       ("pair", b"through a socket"), ("strange", b"strange"), ("bytesio", b"memory")):
        answer = client.request("GET", "/kind?" + kind)
        assert (answer.status, answer.body) == (200, body), kind
    # A file of /proc says that it has no bytes, and has some.
    assert client.request("GET", "/kind?proc").body.startswith(b"nginx")
    assert client.request("GET", "/offset").body == b"3456789"
    # The block size that the application asked for is the one used.
    assert set(notes(server, "size")) == {"size 4000"}


def test_the_file_closed_or_wrong_from_the_start_is_a_500(files):
    server = files("""
    def at_closed(environ, start_response):
        file = open(PATH, "rb")
        file.close()
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](file)

    def at_none(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](None)

    def at_text(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](io.StringIO("text"))
    """)
    for target in ("/closed", "/none", "/text"):
        assert server.get(target).status == 500, target
    assert len(server.wait_for_log(r'\[error\].*wsgi: application "[^"]*app.py" (raised|yielded)', count=3)) == 3
    assert server.get("/hello").body == b"hello"


def test_read_that_fails_in_the_middle_truncates(files):
    server = files("""
    class Failing:
        def __init__(self):
            self.left = 3

        def read(self, size):
            self.left -= 1
            if not self.left:
                raise OSError("the disk is gone")
            return b"part"

        def close(self):
            note("close")

    def at_failing(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](Failing())
    """)
    with pytest.raises(Truncated) as caught:
        server.get("/failing")
    assert caught.value.response.body == b"partpart"
    server.wait_for_log("raised OSError: the disk is gone")
    wait_notes(server, "close")
    assert notes(server) == ["close"]


@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_the_file_is_closed_after_its_last_byte_and_when_the_client_leaves(files, sendfile):
    size = 30_000_000
    server = files(server=f"location / {{ sendfile {sendfile}; wsgi_pass app.py; }}", h2c=True)
    with open(server.folder / "data", "wb") as file:
        file.truncate(size)
    before = rss(server.worker)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/file")
    client.read_head()
    # A thread gives nginx a descriptor of its own.
    files_of_one = 2 if THREADS else 1
    assert len(settled(lambda: data_fds(server))) == files_of_one
    assert len(client.read_exactly(size)) == size
    all_closed(server)
    # An abort in the middle closes as well: HTTP/1, then one stream of HTTP/2.
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/file")
    client.read_head()
    assert len(data_fds(server)) == files_of_one
    client.reset()
    all_closed(server)
    with_http2 = server.h2(hold=True)
    stream = with_http2.send_request("GET", "/file")
    with_http2.wait(lambda: len(stream.body) >= 65535, "a full window")
    assert len(data_fds(server)) == files_of_one
    with_http2.reset(stream)
    all_closed(server)
    assert rss(server.worker) - before < 8 * 1024 * 1024


def test_a_file_that_shrinks_while_it_is_sent_does_not_hurt_the_worker(files):
    size = 30_000_000
    server = files(server="location / { sendfile on; wsgi_pass app.py; }")
    server.allow(r"\[alert\].*(sendfile|file).*truncated|was truncated|read only")
    with open(server.folder / "data", "wb") as file:
        file.truncate(size)
    worker = server.worker
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/file")
    client.read_head()
    os.truncate(server.folder / "data", 1000)
    assert len(client.read_rest()) < size
    all_closed(server)
    assert server.get("/hello").body == b"hello" and server.worker == worker


def test_ranges_are_not_cut_unless_wanted(files):
    answer = files().get("/file", [("Range", "bytes=0-9")])
    assert (answer.status, len(answer.body)) == (200, len(DATA))


def test_a_file_that_knows_its_wrapper_is_collected(files):
    """A cycle through the wrapper is no leak."""
    server = files("""
    import gc
    import weakref

    alive = weakref.WeakSet()

    class Knowing(io.BytesIO):
        pass

    def at_cycle(environ, start_response):
        file = Knowing(b"data")
        file.wrapper = environ["wsgi.file_wrapper"](file)
        alive.add(file)
        start_response("200 OK", PLAIN)
        return file.wrapper

    def at_alive(environ, start_response):
        gc.collect()
        return answer(start_response, len(alive))
    """)
    for _ in range(20):
        assert server.get("/cycle").body == b"data"
    assert server.get("/alive").json() == 0


def test_arguments(files):
    server = files("""
    def at_arguments(environ, start_response):
        wrapper = environ["wsgi.file_wrapper"]
        return answer(start_response, [raised(wrapper), raised(wrapper, 1), raised(wrapper, io.BytesIO(), 1, 2),
                                       list(map(len, wrapper(io.BytesIO(b"x" * 10), block_size=4)))])
    """)
    assert server.get("/arguments").json() == ["TypeError", "TypeError", "TypeError", [4, 4, 2]]
