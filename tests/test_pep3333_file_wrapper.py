"""PEP 3333, points 46 to 50: wsgi.file_wrapper."""

import textwrap

import pytest

from harness.apps import notes, serve, settled, wait_notes

FILES = """
    import gzip
    import io

    class Tracked:
        \"\"\"A file whose reads and whose close are noted.\"\"\"
        def __init__(self, inner, name):
            self.inner, self.name = inner, name

        def read(self, *size):
            note("read", self.name)
            return self.inner.read(*size)

        def close(self):
            note("close", self.name)
            self.inner.close()

    class TrackedFile(io.FileIO):
        def read(self, *size):
            note("read file")
            return super().read(*size)

        def close(self):
            if not self.closed:
                note("close file")
            super().close()

    PATH = os.path.join(HERE, "data")
    """
DATA = b"".join(b"%07d\n" % n for n in range(20000))


def files(nginx, text, **options):
    # Two literals with different indents cannot be dedented together.
    server = serve(nginx, textwrap.dedent(FILES) + textwrap.dedent(text), **options)
    (server.folder / "data").write_bytes(DATA)
    return server


def test_46_the_wrapper_is_callable_and_sends_nothing_before_it_is_returned(nginx):
    server = files(nginx, """
        def at_made(environ, start_response):
            start_response("200 OK", PLAIN)
            environ["wsgi.file_wrapper"](open(PATH, "rb"), 100)
            return [b"something else"]

        def at_returned(environ, start_response):
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](open(PATH, "rb"))

        def at_block_size(environ, start_response):
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](open(PATH, "rb"), 512)

        def at_wrong(environ, start_response):
            return answer(start_response, [raised(environ["wsgi.file_wrapper"]),
                                           raised(environ["wsgi.file_wrapper"], 1, 2, 3)])
        """)
    assert server.get("/made").body == b"something else"
    assert server.get("/returned").body == DATA
    assert server.get("/block_size").body == DATA
    assert server.get("/wrong").json() == ["TypeError"] * 2


def test_46_wrapped_by_middleware_it_is_an_ordinary_iterable(nginx):
    server = files(nginx, """
        def at_wrapped(environ, start_response):
            start_response("200 OK", PLAIN)
            inner = environ["wsgi.file_wrapper"](Tracked(open(PATH, "rb"), "inner"), 1000)
            def upper():
                sizes = set()
                for block in inner:
                    assert type(block) is bytes
                    sizes.add(len(block))
                    yield block.replace(b"\\n", b"|")
                note("sizes", sorted(sizes))
                inner.close()
            return upper()

        def at_replaced(environ, start_response):
            start_response("200 OK", PLAIN)
            environ["wsgi.file_wrapper"] = lambda file, size=0: [b"by middleware"]
            return environ["wsgi.file_wrapper"](open(PATH, "rb"))
        """)
    assert server.get("/wrapped").body == DATA.replace(b"\n", b"|")
    assert notes(server, "sizes") == ["sizes [1000]"]
    assert notes(server, "close") == ["close inner"]
    assert server.get("/replaced").body == b"by middleware"


def test_47_close_is_the_files_close_and_read_serves_what_sendfile_cannot(nginx):
    server = files(nginx, """
        KEPT = []
        KINDS = {
            "bytesio": lambda: io.BytesIO(open(PATH, "rb").read()),
            "gzip": lambda: gzip.open(PATH + ".gz"),
            "tracked": lambda: Tracked(open(PATH, "rb"), "tracked"),
            "text": lambda: open(PATH),
            # Python 3.9 closes the pipe with its text wrapper, which is therefore kept.
            "pipe": lambda: (KEPT.append(os.popen("cat " + PATH)), KEPT[-1].buffer)[1],
        }

        def at_kind(environ, start_response):
            kind = environ["QUERY_STRING"]
            if kind == "gzip":
                with gzip.open(PATH + ".gz", "wb") as file:
                    file.write(open(PATH, "rb").read())
            start_response("200 OK", PLAIN)
            wrapped = environ["wsgi.file_wrapper"](KINDS[kind](), 4096)
            note("has close", kind, callable(getattr(wrapped, "close", None)))
            return wrapped

        def at_noclose(environ, start_response):
            class Reader:
                def __init__(self):
                    self.left = [b"one", b"two", b""]

                def read(self, size):
                    return self.left.pop(0)
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](Reader())
        """)
    for kind in ("bytesio", "gzip", "tracked", "pipe"):
        assert server.get("/kind?" + kind).body == DATA, kind
        assert notes(server, "has close " + kind) == [f"has close {kind} True"]
    wait_notes(server, "close tracked")
    assert notes(server, "close tracked") == ["close tracked"]
    assert server.get("/noclose").body == b"onetwo"
    # read() of a text file gives str, which is an error as any other str.
    assert server.get("/kind?text").status == 500
    server.wait_for_log("str, not bytes")


@pytest.mark.parametrize("buffering", [-1, 0])
def test_48_a_file_is_sent_from_its_present_position_to_its_end(nginx, buffering):
    server = files(nginx, f"""
        def at_from(environ, start_response):
            file = open(PATH, "rb", {buffering})
            # Python's buffer reads ahead: the position of the descriptor is not the position of the file.
            file.read(int(environ["QUERY_STRING"]))
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](file)

        def at_cut(environ, start_response):
            file = open(PATH, "rb", {buffering})
            file.seek(8)
            start_response("200 OK", [("Content-Length", "16")])
            return environ["wsgi.file_wrapper"](file)

        """)
    client = server.connect()
    for start in (0, 1, 8, 100_000, len(DATA)):
        answer = client.request("GET", f"/from?{start}")
        assert answer.body == DATA[start:], start
        assert answer.header("Content-Length") in (None, str(len(DATA) - start))
    answer = client.request("GET", "/cut")
    assert (answer.header("Content-Length"), answer.body) == ("16", DATA[8:24])


def test_49_a_file_after_write_comes_after_what_was_written(nginx):
    server = files(nginx, """
        def at_both(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"written first\\n")
            return environ["wsgi.file_wrapper"](open(PATH, "rb"))
        """)
    answer = server.get("/both")
    assert answer.complete and answer.body == b"written first\n" + DATA


def test_50_the_file_is_closed_once_and_only_after_its_last_byte(nginx):
    size = 20_000_000
    server = files(nginx, f"""
        def at_big(environ, start_response):
            with open(PATH, "wb") as file:
                file.truncate({size})
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](TrackedFile(PATH))
        """)
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    head = client.read_head()
    assert settled(lambda: notes(server, "close")) == []
    client.read_body(head)
    assert head.body == bytes(size)
    wait_notes(server, "close")
    assert notes(server, "close") == ["close file"]
