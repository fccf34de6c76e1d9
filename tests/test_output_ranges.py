"""wsgi_allow_ranges: nginx cuts ranges out of what an application answers."""

import random

import pytest

from harness.apps import notes, serve, wait_notes
from harness.http import Truncated

NAME = "wsgi_allow_ranges"
ON = f"location / {{ {NAME} on; wsgi_pass app.py; }}"
DATA = b"".join(b"%07d\n" % number for number in range(25_000))
SIZE = len(DATA)
LAST_MODIFIED = "Fri, 20 Nov 2026 10:00:00 GMT"
APP = f"""
    import io

    DATA = b"".join(b"%07d\\n" % number for number in range(25_000))
    PATH = os.path.join(HERE, "data")

    def headers(*more):
        return [("Content-Type", "text/x"), ("ETag", '"v1"'), ("Last-Modified", "{LAST_MODIFIED}"), *more]

    LENGTH = ("Content-Length", str(len(DATA)))

    def at_one(environ, start_response):
        start_response("200 OK", headers())
        return [DATA]

    def at_small(environ, start_response):
        # Blocks that are copied together.
        start_response("200 OK", headers(LENGTH))
        return [DATA[:100], DATA[100:150], DATA[150:]]

    def at_little(environ, start_response):
        start_response("200 OK", headers())
        return [b"01234", b"", b"56789"]

    def at_list(environ, start_response):
        start_response("200 OK", headers())
        return [DATA[at:at + 8192] for at in range(0, len(DATA), 8192)]

    def at_blocks(environ, start_response):
        start_response("200 OK", headers(LENGTH))
        size = int(environ["QUERY_STRING"] or 1000)
        return Body(*[DATA[at:at + size] for at in range(0, len(DATA), size)])

    def at_unknown(environ, start_response):
        start_response("200 OK", headers())
        return Body(DATA[:1000], DATA[1000:])

    def at_file(environ, start_response):
        start_response("200 OK", headers())
        return environ["wsgi.file_wrapper"](open(PATH, "rb"))

    def at_stream(environ, start_response):
        start_response("200 OK", headers(LENGTH))
        return environ["wsgi.file_wrapper"](io.BytesIO(DATA), 10_000)

    def at_write(environ, start_response):
        write = start_response("200 OK", headers(LENGTH))
        write(DATA[:5000])
        write(DATA[5000:9000])
        return [DATA[9000:]]

    def at_own(environ, start_response):
        what = environ["QUERY_STRING"]
        if what == "206":
            start_response("206 Partial Content", headers(("Content-Range", "bytes 0-9/100")))
        elif what == "none":
            start_response("200 OK", headers(("Accept-Ranges", "none")))
        elif what == "bytes":
            start_response("200 OK", headers(("Accept-Ranges", "bytes")))
        elif what == "range":
            start_response("200 OK", headers(("Content-Range", "bytes 0-9/100")))
        else:
            start_response(what + " Own", headers())
        return [b"0123456789"]

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """
BODIES = ["/one", "/small", "/list", "/blocks", "/blocks?8", "/blocks?100000", "/file", "/stream"]


@pytest.fixture
def server(nginx):
    made = serve(nginx, APP, ON + "location /plain { rewrite ^/plain(.*)$ $1 break; wsgi_pass app.py; }", h2c=True)
    (made.folder / "data").write_bytes(DATA)
    return made


def check(answer, first, last):
    """Bytes `first` to `last` of the data, both included."""
    assert (answer.status, answer.header("Content-Range")) == (206, f"bytes {first}-{last}/{SIZE}")
    assert answer.header("Content-Length") == str(last - first + 1)
    assert answer.body == DATA[first:last + 1]
    assert answer.header("ETag") == '"v1"' and answer.header("Content-Type") == "text/x"


@pytest.mark.parametrize("target", BODIES)
@pytest.mark.parametrize("wanted, first, last", [
    ("0-0", 0, 0), ("0-99", 0, 99), ("5-", 5, SIZE - 1), ("-1", SIZE - 1, SIZE - 1), ("-5000", SIZE - 5000, SIZE - 1),
    ("990-1010", 990, 1010), ("8190-8193", 8190, 8193), ("0-", 0, SIZE - 1), (f"{SIZE - 1}-", SIZE - 1, SIZE - 1),
    (f"100-{SIZE * 2}", 100, SIZE - 1), (f"-{SIZE * 2}", 0, SIZE - 1), ("65535-131073", 65535, 131073),
])
def test_single_ranges(server, target, wanted, first, last):
    check(server.get(target, [("Range", f"bytes={wanted}")]), first, last)


@pytest.mark.parametrize("target", BODIES)
def test_without_a_range(server, target):
    answer = server.get(target)
    assert (answer.status, answer.body, answer.all("Accept-Ranges")) == (200, DATA, ["bytes"])


@pytest.mark.parametrize("target", BODIES)
def test_many_random_ranges_on_one_connection(server, target):
    client = server.connect()
    numbers = random.Random(target)
    for _ in range(60 if target != "/blocks?8" else 10):
        first = numbers.randrange(SIZE)
        last = min(SIZE - 1, first + numbers.choice([0, 1, 7, 999, 1000, 8191, 8192, 65536, SIZE]))
        check(client.request("GET", target, [("Range", f"bytes={first}-{last}")]), first, last)
    assert client.request("GET", "/hello").body == b"hello"


@pytest.mark.parametrize("target", ["/one", "/list", "/blocks", "/file"])
def test_what_cannot_be_satisfied(server, target):
    client = server.connect()
    for wanted in (f"{SIZE}-", f"{SIZE}-{SIZE + 5}", f"{SIZE * 3}-{SIZE * 4}"):
        answer = client.request("GET", target, [("Range", f"bytes={wanted}")])
        assert (answer.status, answer.header("Content-Range")) == (416, f"bytes */{SIZE}")
        assert b"0000001" not in answer.body
    # nginx may end the connection after an error of its own, never in the middle.
    client = server.connect()
    assert client.request("GET", target, [("Range", "bytes=0-1")]).body == DATA[:2]
    if target == "/blocks":
        wait_notes(server, "close body", 4)
        assert len(notes(server, "close body")) == 4


@pytest.mark.parametrize("wanted", ["bytes=5-4", "bytes=a-b", "bytes=", "bytes=-", "lines=0-5", "0-5", "bytes=--5"])
def test_nonsense_gets_the_same_as_for_a_file_of_nginx(nginx, wanted):
    server = serve(nginx, APP, ON + "location /data { root %%FOLDER%%; }")
    (server.folder / "data").write_bytes(DATA)
    theirs = server.get("/data", [("Range", wanted)])
    for target in ("/one", "/blocks", "/file"):
        ours = server.get(target, [("Range", wanted)])
        assert (ours.status, ours.header("Content-Range")) == (theirs.status, theirs.header("Content-Range"))
        assert (ours.body == DATA) == (theirs.body == DATA)


def parts(answer):
    """The parts of multipart/byteranges: {Content-Range: bytes}."""
    kind, _, boundary = answer.header("Content-Type").partition("; boundary=")
    assert (answer.status, kind) == (206, "multipart/byteranges")
    assert answer.header("Content-Length") == str(len(answer.body))
    pieces = answer.body.split(b"--" + boundary.encode())
    assert pieces[0] == b"\r\n" and pieces[-1] == b"--\r\n"
    found = {}
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n"))
        assert fields[b"Content-Type"] == b"text/x"
        found[fields[b"Content-Range"].decode()] = body[:-2]
    return found


@pytest.mark.parametrize("target", ["/one", "/file"])
def test_several_ranges(server, target):
    client = server.connect()
    for _ in range(3):
        answer = client.request("GET", target, [("Range", "bytes=0-9,100000-100019,-7")])
        assert parts(answer) == {f"bytes 0-9/{SIZE}": DATA[:10], f"bytes 100000-100019/{SIZE}": DATA[100000:100020],
                                 f"bytes {SIZE - 7}-{SIZE - 1}/{SIZE}": DATA[-7:]}
    assert client.request("GET", "/hello").body == b"hello"


def test_several_ranges_of_small_blocks(server):
    """They are one buffer when they leave."""
    client = server.connect()
    for _ in range(3):
        answer = client.request("GET", "/little", [("Range", "bytes=0-1,4-5,-1")])
        assert parts(answer) == {"bytes 0-1/10": b"01", "bytes 4-5/10": b"45", "bytes 9-9/10": b"9"}
    assert client.request("GET", "/little", [("Range", "bytes=4-5")]).body == b"45"
    # More than there is altogether: nginx sends it once.
    assert client.request("GET", "/little", [("Range", "bytes=0-5,4-9,-3")]).body == b"0123456789"


@pytest.mark.parametrize("target", ["/list", "/blocks", "/blocks?8", "/stream"])
def test_several_ranges_of_several_blocks_are_the_whole(server, target):
    """nginx cannot jump back in a body that comes in pieces; a client has to take the whole then."""
    client = server.connect()
    for _ in range(3):
        answer = client.request("GET", target, [("Range", "bytes=0-9,100000-100019")])
        assert (answer.status, answer.body) == (200, DATA)
    # One of them is one.
    assert client.request("GET", target, [("Range", "bytes=0-9")]).status == 206


def test_max_ranges_of_nginx(nginx):
    server = serve(nginx, APP, f"location / {{ {NAME} on; max_ranges 1; wsgi_pass app.py; }}"
                               f"location /list {{ {NAME} on; max_ranges 0; wsgi_pass app.py; "
                               'wsgi_script_name ""; }')
    assert server.get("/one", [("Range", "bytes=0-1,5-6")]).status == 200
    assert server.get("/one", [("Range", "bytes=0-1")]).status == 206
    assert server.get("/list", [("Range", "bytes=0-1")]).status == 200


@pytest.mark.parametrize("condition, status", [
    ('"v1"', 206), ('"v2"', 200), ('W/"v1"', 200), (LAST_MODIFIED, 206), ("Thu, 19 Nov 2026 10:00:00 GMT", 200),
])
def test_if_range(server, condition, status):
    for target in ("/one", "/list", "/blocks", "/file"):
        answer = server.get(target, [("Range", "bytes=10-19"), ("If-Range", condition)])
        assert (answer.status, answer.body) == (status, DATA[10:20] if status == 206 else DATA)


def test_conditions_come_first(server):
    for target in ("/one", "/blocks", "/file"):
        assert server.get(target, [("Range", "bytes=0-1"), ("If-None-Match", '"v1"')]).status == 304
        assert server.get(target, [("Range", "bytes=0-1"), ("If-Match", '"v2"')]).status == 412


@pytest.mark.parametrize("what, status", [("206", 206), ("none", 200), ("bytes", 200), ("range", 200),
                                          ("404", 404), ("201", 201), ("500", 500)])
def test_an_application_that_speaks_ranges_itself_is_left_alone(server, what, status):
    answer = server.get(f"/own?{what}", [("Range", "bytes=2-3")])
    assert (answer.status, answer.body) == (status, b"0123456789")
    assert answer.all("Content-Range") == (["bytes 0-9/100"] if what in ("206", "range") else [])
    assert answer.all("Accept-Ranges") == ([what] if what in ("none", "bytes") else [])


def test_off_by_default(server):
    for target in ("/plain/one", "/plain/list", "/plain/blocks", "/plain/file"):
        answer = server.get(target, [("Range", "bytes=0-9")])
        assert (answer.status, answer.body, answer.header("Accept-Ranges")) == (200, DATA, None)


def test_without_a_length_the_whole_comes(server):
    answer = server.get("/unknown", [("Range", "bytes=0-9")])
    assert (answer.status, answer.body, answer.header("Accept-Ranges")) == (200, DATA, None)


def test_blocks_of_write(server):
    for wanted, first, last in (("0-10", 0, 10), ("4990-5010", 4990, 5010), ("8999-9000", 8999, 9000),
                                ("-100", SIZE - 100, SIZE - 1)):
        check(server.get("/write", [("Range", f"bytes={wanted}")]), first, last)


def test_head_gets_the_same_as_for_a_file_of_nginx(nginx):
    """Ranges are for GET, says RFC 9110; nginx does not ask for the method."""
    server = serve(nginx, APP, ON + "location /data { root %%FOLDER%%; }")
    (server.folder / "data").write_bytes(DATA)
    client = server.connect()
    theirs = client.request("HEAD", "/data", [("Range", "bytes=5-9")])
    for target in ("/one", "/list", "/blocks", "/file"):
        ours = client.request("HEAD", target, [("Range", "bytes=5-9")])
        assert (ours.status, ours.body) == (theirs.status, b"")
        for name in ("Content-Range", "Content-Length", "Accept-Ranges"):
            assert ours.all(name) == theirs.all(name), (target, name)
        assert client.request("GET", "/hello").body == b"hello"


def test_post(server):
    """As with HEAD."""
    client = server.connect()
    for target in ("/one", "/blocks", "/file"):
        check(client.request("POST", target, [("Range", "bytes=0-9")], b"x"), 0, 9)


def test_http_1_0_and_pipelining(server):
    check(server.get("/blocks", [("Range", "bytes=5-1500")], version="1.0"), 5, 1500)
    client = server.connect()
    for first in range(0, 5000, 500):
        client.send_request("GET", "/blocks", [("Range", f"bytes={first}-{first + 1999}")])
    for first in range(0, 5000, 500):
        check(client.read_response(), first, first + 1999)


@pytest.mark.parametrize("target", ["/one", "/list", "/blocks", "/file", "/stream"])
def test_over_http_2(server, target):
    client = server.h2()
    for first, last in ((0, 0), (990, 1010), (65530, 131080), (SIZE - 5, SIZE - 1)):
        check(client.request("GET", target, [("Range", f"bytes={first}-{last}")]), first, last)
    assert client.request("GET", target, [("Range", f"bytes={SIZE}-")]).status == 416
    assert client.request("GET", "/hello").body == b"hello"


def test_the_generator_comes_to_its_end_and_is_closed(server):
    """What is outside of the range is generated and thrown away: the application is told nothing of ranges."""
    client = server.connect()
    client.request("GET", "/blocks", [("Range", "bytes=0-9")])
    # The client has all of it already, and stays.
    wait_notes(server, "close body")
    assert notes(server) == ["end body", "close body"]


def test_gzip_and_ranges(nginx):
    """What is compressed has no ranges."""
    server = serve(nginx, APP, f"location / {{ {NAME} on; gzip on; gzip_types *; gzip_min_length 1;"
                               " wsgi_pass app.py; }")
    answer = server.get("/list", [("Range", "bytes=0-9"), ("Accept-Encoding", "gzip")])
    assert answer.status == 206 and answer.body == DATA[:10] and answer.header("Content-Encoding") is None or \
        answer.status == 200 and answer.header("Content-Encoding") == "gzip"


def test_a_range_of_an_error_in_the_middle_is_cut(nginx):
    server = serve(nginx, """
        def at_fails(environ, start_response):
            start_response("200 OK", [("Content-Length", "300")])
            return Body(b"a" * 100, b"b" * 100, ValueError("boom"))
        """, ON)
    with pytest.raises(Truncated) as caught:
        server.get("/fails", [("Range", "bytes=150-249")])
    assert caught.value.response.body == b"b" * 50
    server.wait_for_log("raised ValueError: boom")


@pytest.mark.parametrize("http, server, location, status", [
    ("on", "", "", 206), ("", "on", "", 206), ("", "", "on", 206), ("on", "off", "", 200), ("on", "", "off", 200),
    ("on", "off", "on", 206),
])
def test_inheritance(nginx, http, server, location, status):
    http, server, location = (f"{NAME} {value};" if value else "" for value in (http, server, location))
    made = serve(nginx, APP, server + f"location / {{ {location} wsgi_pass app.py; }}", http=http)
    assert made.get("/one", [("Range", "bytes=0-1")]).status == status
