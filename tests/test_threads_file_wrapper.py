"""wsgi.file_wrapper in a thread: nginx sends the file, and the thread that ran the request closes it."""

import pytest

from harness.apps import notes, serve as plain, settled, wait_notes
from harness.nginx import open_fds, wait_for
from harness.threads import serve

DATA = b"".join(b"%07d\n" % number for number in range(500_000))
APP = """
    import io

    PATH = os.path.join(HERE, "data")

    class Noting:
        def __init__(self, file):
            self.file = file
            self.ident = threading.get_ident()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def close(self):
            self.file.close()
            note("close", threading.get_ident() == self.ident)

    def at_file(environ, start_response):
        file = open(PATH, "rb")
        file.seek(int(environ["QUERY_STRING"] or 0))
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](file)

    def at_noting(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](Noting(open(PATH, "rb")), 50_000)

    def at_bytes(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"abc" * 100_000), 1000)

    def at_fails(environ, start_response):
        class Failing(Noting):
            def read(self, size=-1):
                if self.file.tell() > 200_000:
                    raise OSError("bad disk")
                return self.file.read(size)
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](Failing(open(PATH, "rb")), 50_000)
    """


def site(nginx, **more):
    server = serve(nginx, APP, start=False, **more)
    (server.folder / "data").write_bytes(DATA)
    return server.start()


def data_fds(server):
    return [target for target in open_fds(server.worker).values() if target.endswith("/data")]


def all_closed(server):
    wait_for(lambda: not data_fds(server), lambda: f"files left open: {open_fds(server.worker)}")


@pytest.mark.parametrize("sendfile", ["on", "off", "on; aio threads"])
@pytest.mark.parametrize("how", ["plain", "tls", "h2"])
def test_whole_files(nginx, sendfile, how):
    server = site(nginx, http=f"sendfile {sendfile};", tls=True, h2c=True)
    client = server.h2() if how == "h2" else server.connect(tls=how == "tls")
    for start in (0, 9, len(DATA)):
        answer = client.request("GET", f"/file?{start}")
        assert bytes(answer.body) == DATA[start:]
        assert answer.header("Content-Length") == str(len(DATA) - start)
    assert bytes(client.request("GET", "/noting").body) == DATA
    assert bytes(client.request("GET", "/bytes").body) == b"abc" * 100_000
    all_closed(server)
    assert wait_notes(server, "close") == ["close True"]


@pytest.mark.parametrize("target", ["/file", "/noting"])
@pytest.mark.parametrize("how", ["plain", "tls", "h2"])
def test_a_slow_client(nginx, target, how):
    server = site(nginx, tls=True, h2c=True)
    if how == "h2":
        client = server.h2(hold=True)
        stream = client.send_request("GET", target)
        client.wait(lambda: len(stream.body) >= 65535, "a full window")
        client.quiet(0.1)
    else:
        client = server.connect(tls=how == "tls", rcvbuf=4096)
        client.send_request("GET", target)
        head = client.read_head()
    # It is in the middle, and the file is open.
    assert settled(lambda: notes(server, "close")) == []
    assert len(data_fds(server)) >= 1
    for _ in range(3):
        assert server.get("/hello").body == b"hello"
    if how == "h2":
        client.hold = False
        client.release()
        client.finish(stream)
        assert bytes(stream.body) == DATA
    else:
        client.read_body(head)
        assert head.body == DATA
    all_closed(server)
    if target == "/noting":
        assert wait_notes(server, "close") == ["close True"]


@pytest.mark.parametrize("target", ["/file", "/noting"])
@pytest.mark.parametrize("how", ["reset", "stream"])
def test_a_client_that_leaves(nginx, target, how):
    server = site(nginx, h2c=True)
    if how == "stream":
        client = server.h2(hold=True)
        stream = client.send_request("GET", target)
        client.wait(lambda: len(stream.body) >= 65535, "a full window")
        client.reset(stream)
    else:
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", target)
        client.read_head()
        client.reset()
    all_closed(server)
    if target == "/noting":
        assert wait_notes(server, "close") == ["close True"]
    assert server.get("/hello").body == b"hello"


def test_head_and_ranges(nginx):
    server = site(nginx, http="wsgi_allow_ranges on;")
    answer = server.request("HEAD", "/file")
    assert (answer.status, answer.header("Content-Length"), answer.body) == (200, str(len(DATA)), b"")
    assert server.request("HEAD", "/noting").status == 200
    answer = server.get("/file", [("Range", "bytes=100-199")])
    assert (answer.status, answer.body) == (206, DATA[100:200])
    all_closed(server)
    assert wait_notes(server, "close") == ["close True"]


def test_a_file_that_fails_in_the_middle(nginx):
    server = site(nginx)
    client = server.connect()
    client.send_request("GET", "/fails")
    answer = client.read_response(strict=False)
    assert not answer.complete and DATA.startswith(answer.body) and len(answer.body) >= 200_000
    server.wait_for_log("raised OSError: bad disk after the headers were sent")
    assert wait_notes(server, "close") == ["close True"]
    all_closed(server)


def test_the_same_as_inline(nginx):
    found = []
    for threads in (0, 2):
        server = plain(nginx, "import threading\n" + APP.replace("\n    ", "\n"),
                       f"wsgi_threads {threads}; location / {{ wsgi_pass app.py; }}", start=False)
        (server.folder / "data").write_bytes(DATA)
        server.start()
        found.append([(answer.status, answer.reason, answer.body,
                       [pair for pair in answer.headers if pair[0] not in ("Date",)])
                      for target in ("/file", "/file?100", "/noting", "/bytes")
                      for answer in [server.get(target)]])
    assert found[0] == found[1]
