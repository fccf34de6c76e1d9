"""The switches of the output together: each pair of them, with ranges, redirects, error pages and spilled files."""

import itertools

import pytest

from harness.apps import forget, notes, serve, wait_notes
from harness.nginx import open_fds, wait_for

FLAGS = ["wsgi_allow_ranges", "wsgi_optimize_send_headers", "wsgi_output_buffering", "wsgi_write_buffering"]
TEMP = "wsgi_temp_path %%FOLDER%%/temp_wsgi; wsgi_write_buffer_size 4k; wsgi_block_warning off;"
DATA = b"".join(b"%07d\n" % number for number in range(10_000))
APP = """
    DATA = b"".join(b"%07d\\n" % number for number in range(10_000))
    HEADERS = [("Content-Type", "text/x"), ("ETag", '"v1"'), ("Content-Length", str(len(DATA)))]

    def at_list(environ, start_response):
        start_response("200 OK", HEADERS)
        return [DATA[:10], DATA[10:50_000], DATA[50_000:]]

    def at_generator(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b""
        for at in range(0, len(DATA), 1000):
            yield DATA[at:at + 1000]

    def at_tiny(environ, start_response):
        start_response("200 OK", HEADERS)
        return Body(*[DATA[at:at + 10] for at in range(0, len(DATA), 10)])

    def at_written(environ, start_response):
        write = start_response("200 OK", HEADERS)
        write(DATA[:100])
        write(DATA[100:60_000])
        return [DATA[60_000:]]

    def at_both(environ, start_response):
        write = start_response("200 OK", HEADERS)
        write(DATA[:30_000])
        def blocks():
            yield b""
            yield DATA[30_000:30_010]
            write(DATA[30_010:60_000])
            yield DATA[60_000:]
        return blocks()

    def at_file(environ, start_response):
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](open(os.path.join(HERE, "data"), "rb"))

    def at_to(environ, start_response):
        how, target = environ["QUERY_STRING"].split("=")
        write = start_response("200 OK", [("X-Accel-Redirect", target), ("Content-Type", "text/own")])
        if "w" in how:
            write(b"x" * 300_000)
        return Body(b"", b"never", name="to") if "e" in how else Body(b"never", name="to")

    def at_status(environ, start_response):
        how, status = environ["QUERY_STRING"].split("=")
        write = start_response(status + " Own", [("Content-Type", "text/own")])
        if "w" in how:
            write(b"x" * 300_000)
        return Body(b"", b"own", name="status") if "e" in how else Body(b"own", name="status")

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
BODIES = ["/list", "/generator", "/tiny", "/written", "/both", "/file"]
COMBINATIONS = [flags for count in range(len(FLAGS) + 1) for flags in itertools.combinations(FLAGS, count)]


def names(flags):
    return "+".join(flag.split("_")[1] for flag in flags) or "none"


@pytest.fixture(params=COMBINATIONS, ids=names)
def server(request, nginx):
    flags = " ".join(f"{flag} on;" for flag in request.param)
    made = serve(nginx, APP, flags + """
        location / { wsgi_pass app.py; }
        location /status { wsgi_intercept_errors on; error_page 404 /text; error_page 403 @named; wsgi_script_name "";
                           wsgi_pass app.py; }
        location /text { return 200 "text"; }
        location @named { rewrite ^ /hello break; wsgi_pass app.py; }
        """, http=TEMP, h2c=True, tls=True)
    made.flags = request.param
    (made.folder / "data").write_bytes(DATA)
    return made


def nothing_left(server):
    folder = str(server.folder / "temp_wsgi")
    wait_for(lambda: not [target for target in open_fds(server.worker).values() if target.startswith(folder)],
             lambda: f"temp files closed: {open_fds(server.worker)}")


def test_bodies(server):
    for client in (server.connect(), server.connect(tls=True), server.h2(), server.h2(tls=True)):
        for target in BODIES * 2:
            answer = client.request("GET", target)
            assert (answer.status, answer.header("Content-Length"), answer.body) == (200, str(len(DATA)), DATA), target
            assert client.request("HEAD", target).header("Content-Length") == str(len(DATA)), target
            assert client.request("GET", target, [("If-None-Match", '"v1"')]).status == 304, target
        assert client.request("GET", "/hello").body == b"hello"
    nothing_left(server)


def test_ranges(server):
    """One range, and several: of a body in pieces the whole comes then, never an alert of nginx."""
    ranged = "wsgi_allow_ranges" in server.flags
    for client in (server.connect(), server.connect(tls=True), server.h2()):
        for target in BODIES:
            answer = client.request("GET", target, [("Range", "bytes=29990-60020")])
            assert (answer.status, answer.body) == ((206, DATA[29990:60021]) if ranged else (200, DATA)), target
            answer = client.request("GET", target, [("Range", "bytes=0-5,40000-40005,70000-70005")])
            if target == "/file" and ranged:
                assert answer.status == 206 and DATA[40000:40006] in answer.body and len(answer.body) < 1000
            else:
                assert (answer.status, answer.body) == (200, DATA), target
    nothing_left(server)


def test_redirects(server):
    """Without buffering, what was written has not left either: the head that goes with it is a redirect."""
    for client in (server.connect(), server.h2()):
        for how in ("n", "e", "w", "we"):
            forget(server)
            answer = client.request("GET", f"/to?{how}=/text")
            assert (answer.status, answer.body, answer.header("Content-Type")) == (200, b"text", "text/own"), how
            assert client.request("POST", f"/to?{how}=@named", body=b"body").body == b"hello", how
            wait_notes(server, "close to", 2)
            assert notes(server, "close to") == ["close to"] * 2 and notes(server, "end") == []
    nothing_left(server)


def test_error_pages(server):
    for client in (server.connect(), server.h2()):
        for how in ("n", "e", "w", "we"):
            forget(server)
            answer = client.request("GET", f"/status?{how}=404")
            assert (answer.status, answer.body) == (404, b"text"), how
            answer = client.request("GET", f"/status?{how}=403")
            assert (answer.status, answer.body) == (403, b"hello"), how
            wait_notes(server, "close status", 2)
            assert notes(server, "close status") == ["close status"] * 2 and notes(server, "end") == []
    nothing_left(server)


@pytest.mark.vendored_only
@pytest.mark.parametrize("flags", [(), tuple(FLAGS)], ids=names)
def test_over_http_3(nginx, flags):
    server = serve(nginx, APP, " ".join(f"{flag} on;" for flag in flags) + """
        location / { wsgi_pass app.py; }
        location /text { internal; return 200 "text"; }
        """, http=TEMP, h3=True)
    (server.folder / "data").write_bytes(DATA)
    # nginx ends a QUIC connection with "quic flood detected" after 10000 frames that were not acknowledged yet:
    # thousands of blocks of a few bytes, each sent for itself, are too many of them.
    targets = [target for target in BODIES if flags or target != "/tiny"]
    answers = server.h3(*[("GET", target) for target in targets])
    assert [(answer.complete, bytes(answer.body) == DATA) for answer in answers] == [(True, True)] * len(targets)
    assert server.h3(("GET", "/to?n=/text")).body == b"text"
    nothing_left(server)
