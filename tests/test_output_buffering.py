"""wsgi_output_buffering: small blocks are collected to a page before they leave."""

import gzip
import os
import select
import socket

import pytest

from harness.apps import in_kernel, notes, serve, settled, touch, wait_notes
from harness.http import Truncated
from harness.nginx import rss

NAME = "wsgi_output_buffering"
ON = f"location / {{ {NAME} on; wsgi_pass app.py; }}"
OFF = "location / { wsgi_pass app.py; }"
PAGE = os.sysconf("SC_PAGE_SIZE")
TINY = b"".join(b"%d" % (number % 10) for number in range(10_000))
APP = """
    def at_tiny(environ, start_response):
        more = [("Content-Length", "10000")] if environ["QUERY_STRING"] else []
        start_response("200 OK", PLAIN + more)
        return Body(*[b"%d" % (number % 10) for number in range(10_000)])

    def at_sizes(environ, start_response):
        # SIZE,COUNT[,SIZE,COUNT...]
        numbers = list(map(int, environ["QUERY_STRING"].split(",")))
        start_response("200 OK", PLAIN)
        def blocks():
            for size, count in zip(numbers[::2], numbers[1::2]):
                for number in range(count):
                    note("asked") if size > 1000 else None
                    yield b"%d" % (number % 10) * size
        return blocks()

    def at_steps(environ, start_response):
        # So many bytes one by one, then a pause, then one more.
        start_response("200 OK", PLAIN)
        for number in range(int(environ["QUERY_STRING"])):
            yield b"%d" % (number % 10)
        while not there("go"):
            note("waiting")
            time.sleep(0.01)
            yield b""
        yield b"x"

    def at_list(environ, start_response):
        start_response("200 OK", PLAIN)
        return [b"one ", b"", b"two ", b"three"]

    def at_empty(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(b"", b"")

    def at_file(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))

    def at_fails(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(*[b"x"] * int(environ["QUERY_STRING"]), ValueError("boom"))

    def at_written(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        yield b"two "
        write(b"three ")
        yield b"four "
        yield b"five "
        write(b"six")

    def at_short(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return Body(b"0", b"12", b"3456")

    def at_hello(environ, start_response):
        return answer(start_response, b"hello")
    """


def here(client):
    """What has come to the client; it stays where it is."""
    return client.sock.recv(1 << 20, socket.MSG_PEEK) if select.select([client.sock], [], [], 0)[0] else b""


def test_ten_thousand_blocks_of_one_byte(nginx):
    server = serve(nginx, APP, ON + f"location /off {{ {NAME} off; wsgi_pass app.py; wsgi_script_name /off; }}")
    client = server.connect()
    for _ in range(3):
        answer = client.request("GET", "/tiny")
        assert answer.body == TINY and answer.chunked
        assert len(answer.chunks) <= len(TINY) // PAGE + 2
    # nginx writes once per block, and puts each into a chunk of its own, without it.
    answer = client.request("GET", "/off/tiny")
    assert answer.body == TINY and len(answer.chunks) == len(TINY)
    wait_notes(server, "close body", 4)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_with_a_content_length(nginx, version):
    server = serve(nginx, APP, ON)
    client = server.connect()
    answer = client.request("GET", "/tiny?length", version=version)
    assert (answer.header("Content-Length"), answer.chunked, answer.body) == ("10000", False, TINY)


def test_http_1_0_without_a_length(nginx):
    answer = serve(nginx, APP, ON).get("/tiny", version="1.0")
    assert answer.header("Content-Length") is None and answer.body == TINY


@pytest.mark.parametrize("tls", [False, True])
def test_over_http_2(nginx, tls):
    server = serve(nginx, APP, ON, tls=True, h2c=True)
    client = server.h2(tls=tls)
    for _ in range(3):
        stream = client.request("GET", "/tiny")
        assert stream.body == TINY and stream.complete
        assert len([size for size in stream.frames if size]) <= len(TINY) // PAGE + 2
    assert client.request("GET", "/list").body == b"one two three"


@pytest.mark.parametrize("ssl_buffer", ["1k", "4k", "16k"])
def test_over_tls(nginx, ssl_buffer):
    """What is not flushed may stay in the buffer of TLS, which no event empties."""
    server = serve(nginx, APP, f"ssl_buffer_size {ssl_buffer}; {ON}", tls=True)
    client = server.connect(tls=True)
    for target, size in (("/tiny", 10_000), ("/list", 13), ("/sizes?100,45", 4500), ("/sizes?500,2000", 1_000_000),
                         ("/sizes?5000,3", 15_000), ("/written", 27)):
        assert len(client.request("GET", target).body) == size, target


@pytest.mark.parametrize("sizes", ["1,4095", "1,4096", "1,4097", "4096,5", "4095,7", "4097,7", "1,1",
                                   "100,1,5000,1,3,10,4093,2,1,1", "10000000,2", "1,10,10000000,1,1,10", "3000,50"])
def test_any_sizes(nginx, sizes):
    server = serve(nginx, APP, ON)
    numbers = list(map(int, sizes.split(",")))
    wanted = b"".join(b"%d" % (number % 10) * size for size, count in zip(numbers[::2], numbers[1::2])
                      for number in range(count))
    client = server.connect()
    for _ in range(2):
        assert client.request("GET", f"/sizes?{sizes}").body == wanted
    assert client.request("GET", "/hello").body == b"hello"


def test_less_than_a_page_waits_for_the_end(nginx):
    server = serve(nginx, APP, ON)
    client = server.connect()
    client.send_request("GET", "/steps?1000")
    wait_notes(server, "waiting", 20)
    assert b"0123456789" not in here(client)
    touch(server, "go")
    assert client.read_response().body == TINY[:1000] + b"x"


def test_a_full_page_leaves_while_the_application_goes_on(nginx):
    server = serve(nginx, APP, ON)
    client = server.connect()
    client.send_request("GET", f"/steps?{2 * PAGE + 10}")
    wait_notes(server, "waiting", 20)
    answer = client.read_head()
    came = b""
    while len(came) < 2 * PAGE:
        came += client.read_chunk(answer)
    assert came == (TINY * 2)[:2 * PAGE]
    # What is left waits for more.
    assert not here(client) and not client.buffer
    touch(server, "go")
    client.read_body(answer)
    assert answer.body == (TINY * 2)[:2 * PAGE + 10] + b"x"


def test_off_each_block_leaves_at_once(nginx):
    server = serve(nginx, APP, OFF)
    client = server.connect()
    client.send_request("GET", "/steps?3")
    answer = client.read_head()
    assert [client.read_chunk(answer) for _ in range(3)] == [b"0", b"1", b"2"]
    touch(server, "go")
    assert [client.read_chunk(answer), client.read_chunk(answer)] == [b"x", b""]


def test_others_are_served_while_blocks_are_collected(nginx):
    server = serve(nginx, APP, ON)
    client = server.connect()
    client.send_request("GET", "/steps?5")
    wait_notes(server, "waiting", 3)
    assert server.get("/hello").body == b"hello"
    touch(server, "go")
    assert client.read_response().body == b"01234x"


@pytest.mark.inline_only
def test_a_client_that_does_not_read_stops_the_application(nginx):
    size, count = 50_000, 1000
    server = serve(nginx, APP, ON)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", f"/sizes?{size},{count}")
    wait_notes(server, "asked")
    asked = settled(lambda: len(notes(server, "asked")))
    assert asked < count
    # A page and a block more than without it are on their way at the most.
    assert (asked - 2) * size <= in_kernel(client) + PAGE
    assert server.get("/hello").body == b"hello"
    answer = client.read_response()
    assert len(answer.body) == size * count


def test_a_client_that_does_not_read_small_blocks_either(nginx):
    server = serve(nginx, APP, ON)
    client = server.connect(rcvbuf=4096)
    before = rss(server.worker)
    client.send_request("GET", "/sizes?500,200000")
    client.read_head()
    held = settled(lambda: in_kernel(client))
    assert 0 < held < 500 * 200_000
    assert server.get("/hello").body == b"hello"
    assert rss(server.worker) - before < 4 * 1024 * 1024
    client.reset()
    assert server.get("/hello").body == b"hello"


def test_gzip(nginx):
    zipped = "gzip on; gzip_types *; gzip_min_length 1; wsgi_pass app.py;"
    server = serve(nginx, APP, f"location / {{ {NAME} on; {zipped} }} location /off {{ {zipped} }}")
    accept = [("Accept-Encoding", "gzip")]
    on, off = server.get("/tiny", accept), server.get("/off/tiny", accept)
    assert gzip.decompress(on.body) == gzip.decompress(off.body) == TINY
    # Each flush costs some bytes in the middle of what is compressed.
    assert len(on.body) < len(off.body) // 10


@pytest.mark.parametrize("postpone", ["0", "1", "1460", "8k", "64k"])
def test_postpone_output_of_nginx(nginx, postpone):
    """Larger than a page it holds several of them; nothing waits for something that does not come."""
    server = serve(nginx, APP, f"location / {{ {NAME} on; postpone_output {postpone}; wsgi_pass app.py; }}", h2c=True)
    client = server.connect()
    for _ in range(2):
        assert client.request("GET", "/tiny").body == TINY
        assert client.request("GET", "/list").body == b"one two three"
        assert len(client.request("GET", "/sizes?500,2000").body) == 1_000_000
    assert server.h2().request("GET", "/tiny").body == TINY


def test_lists_files_and_empty_bodies(nginx):
    server = serve(nginx, APP, ON)
    client = server.connect()
    for _ in range(2):
        answer = client.request("GET", "/list")
        assert (answer.header("Content-Length"), answer.body) == ("13", b"one two three")
        assert client.request("GET", "/empty").body == b""
        assert client.request("GET", "/file").body == (server.folder / "app.py").read_bytes()


def test_head_and_conditions(nginx):
    server = serve(nginx, APP + """
    def at_tagged(environ, start_response):
        start_response("200 OK", PLAIN + [("ETag", '"v1"')])
        return Body(b"one", b"two")
    """, ON)
    client = server.connect()
    for _ in range(2):
        for target in ("/tiny", "/tiny?length", "/list", "/tagged"):
            assert client.request("HEAD", target).status == 200
        assert client.request("GET", "/tagged", [("If-None-Match", '"v1"')]).status == 304
        assert client.request("GET", "/tagged").body == b"onetwo"


def test_write_and_blocks_come_in_their_order(nginx):
    server = serve(nginx, APP, ON, h2c=True)
    client = server.connect()
    for _ in range(2):
        assert client.request("GET", "/written").body == b"one two three four five six"
    assert server.h2().request("GET", "/written").body == b"one two three four five six"


def test_an_error_in_the_middle_cuts_the_answer(nginx):
    server = serve(nginx, APP, ON)
    with pytest.raises(Truncated) as caught:
        server.get("/fails?20000")
    assert len(caught.value.response.body) >= PAGE
    server.wait_for_log("raised ValueError: boom")
    assert server.get("/hello").body == b"hello"


def test_an_error_before_anything_has_left_is_a_clean_500(nginx):
    server = serve(nginx, APP, ON + "error_page 500 /sorry; location = /sorry { return 200 sorry; }")
    answer = server.get("/fails?3")
    assert (answer.status, answer.body) == (500, b"sorry")
    server.wait_for_log("raised ValueError: boom,")
    wait_notes(server, "close body")
    assert notes(server, "close body") == ["close body"]


@pytest.mark.parametrize("length", ["", "5"])
def test_another_head_replaces_what_is_held(nginx, length):
    """Before a page is full nothing has left, so start_response may be called again with exc_info."""
    server = serve(nginx, """
    def at_replace(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"some of it"
        length = environ["QUERY_STRING"]
        start_response("503 Sorry", [("Content-Length", length)] if length else [], planned())
        yield b"sorry"

    def at_hello(environ, start_response):
        start_response("200 OK", PLAIN)
        return [b"hello"]
    """, ON)
    client = server.connect()
    for _ in range(2):
        answer = client.request("GET", "/replace?" + length)
        assert (answer.status, answer.body, answer.header("Content-Length")) == (503, b"sorry", "5")
    assert client.request("GET", "/hello").body == b"hello"


def test_less_than_a_page_has_a_content_length(nginx):
    server = serve(nginx, APP, ON)
    assert server.get("/sizes?5,3").header("Content-Length") == "15"
    assert server.get("/sizes?5,3000").header("Content-Length") is None


def test_small_blocks_do_not_fill_memory(nginx):
    """A million of them: what nginx's pool were given would stay there until the request ends."""
    server = serve(nginx, """
    def at_rows(environ, start_response):
        start_response("200 OK", PLAIN)
        return (b"x" * 100 for _ in range(int(environ["QUERY_STRING"])))
    """, ON)
    for count in (10_000, 10_000):
        server.get(f"/rows?{count}")
    before = rss(server.worker)
    assert len(server.get("/rows?300000").body) == 30_000_000
    assert rss(server.worker) - before < 4 * 1024 ** 2


def test_too_many_bytes_are_cut_and_too_few_are_seen(nginx):
    server = serve(nginx, APP + """
    def at_few(environ, start_response):
        start_response("200 OK", [("Content-Length", "50")])
        return Body(b"0", b"12")
    """, ON)
    answer = server.get("/short")
    assert answer.body == b"01234"
    with pytest.raises(Truncated):
        server.get("/few")


def test_a_client_that_leaves(nginx):
    server = serve(nginx, APP + """
    def at_endless(environ, start_response):
        start_response("200 OK", PLAIN)
        def blocks():
            try:
                while True:
                    yield b"x" * 1000
            finally:
                note("closed")
        return blocks()
    """, ON)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/endless")
    client.read_head()
    client.reset()
    wait_notes(server, "closed")
    assert server.get("/hello").body == b"hello"


def test_in_a_subrequest(nginx):
    server = serve(nginx, APP + """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        yield b'[<!--#include virtual="/tiny" -->'
        yield b'|<!--#include virtual="/list" -->'
        yield b']'
    """, f"location / {{ ssi on; {NAME} on; wsgi_pass app.py; }}")
    client = server.connect()
    for _ in range(2):
        assert client.request("GET", "/page").body == b"[" + TINY + b"|one two three]"


@pytest.mark.parametrize("http, server, location, few", [
    ("on", "", "", True), ("", "on", "", True), ("", "", "on", True), ("on", "off", "", False),
    ("on", "", "off", False), ("off", "", "on", True),
])
def test_inheritance(nginx, http, server, location, few):
    http, server, location = (f"{NAME} {value};" if value else "" for value in (http, server, location))
    made = serve(nginx, APP, server + f"location / {{ {location} wsgi_pass app.py; }}", http=http)
    assert (len(made.get("/tiny").chunks) < 10) == few
