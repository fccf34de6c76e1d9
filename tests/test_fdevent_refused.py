"""x-wsgiorg.fdevent and what cannot be waited for: an exception in the application, before it waits."""

import pytest

from harness.waiting import nothing_left, send, serve

pytestmark = pytest.mark.inline_only

APP = """
    class Fileno:
        def __init__(self, value):
            self.value = value
        def fileno(self):
            if isinstance(self.value, Exception):
                raise self.value
            return self.value

    def closed():
        fd = os.dup(0)
        os.close(fd)
        return fd

    OPEN = {
        "file": lambda: os.open(os.path.join(HERE, "app.py"), os.O_RDONLY),
        "directory": lambda: os.open(HERE, os.O_RDONLY),
        "closed": closed,
        "negative": lambda: -1,
        "very negative": lambda: -(2 ** 40),
        "large": lambda: 1_000_000,
        "very large": lambda: 2 ** 40,
        "none": lambda: None,
        "text": lambda: "0",
        "float": lambda: 1.0,
        "object": object,
        "fileno of text": lambda: Fileno("0"),
        "fileno of -1": lambda: Fileno(-1),
        "fileno raises": lambda: Fileno(KeyError("no descriptor")),
        "closed file": lambda: closed_file(),
        "closed socket": lambda: closed_socket(),
    }

    def closed_file():
        file = open(__file__)
        file.close()
        return file

    def closed_socket():
        sock = socket.socket()
        sock.close()
        return sock

    def at_refused(environ, start_response):
        said = {}
        for name, make in OPEN.items():
            fd = make()
            for direction in ("readable", "writable"):
                try:
                    environ["x-wsgiorg.fdevent." + direction](fd, 1.0)
                    found = "accepted"
                except Exception as error:
                    found = [type(error).__name__, getattr(error, "errno", None), str(error)]
                said[name + ", " + direction] = found
            if name in ("file", "directory"):
                os.close(fd)
        return answer(start_response, said)

    def at_after(environ, start_response):
        # An error does not spoil the next call.
        start_response("200 OK", PLAIN)
        end = pair("a")
        fd = OPEN["file"]()
        said = [raised(environ["x-wsgiorg.fdevent.readable"], fd), raised(environ["x-wsgiorg.fdevent.readable"], -1)]
        os.close(fd)
        note("waits")
        yield environ["x-wsgiorg.fdevent.readable"](end)
        yield json.dumps(said).encode()
        part("a")

    def at_uncaught(environ, start_response):
        start_response("200 OK", PLAIN)
        with open(__file__) as file:
            yield environ["x-wsgiorg.fdevent.readable"](file)

    def at_without(environ, start_response):
        # The error has taken nothing: an empty item suspends nothing.
        start_response("200 OK", PLAIN)
        said = raised(environ["x-wsgiorg.fdevent.readable"], -1, 30.0)
        yield b""
        yield json.dumps(said).encode()

    def at_null(environ, start_response):
        start_response("200 OK", PLAIN)
        fd = os.open("/dev/null", os.O_RDWR)
        try:
            said = raised(environ["x-wsgiorg.fdevent.readable"], fd)
            yield b""
            yield json.dumps(said).encode()
        finally:
            os.close(fd)

    def at_times(environ, start_response):
        end = pair("a")
        try:
            return answer(start_response, [raised(environ["x-wsgiorg.fdevent.readable"], end, value) for value in (
                -1, -0.001, float("nan"), float("-inf"), "1", [], 1j)])
        finally:
            part("a")

    def at_long(environ, start_response):
        # Far longer than any limit: the limit counts.
        end = pair("a")
        try:
            return answer(start_response, [raised(environ["x-wsgiorg.fdevent.readable"], end, value) for value in (
                1, True, 1e9, 1e300, float("inf"), None)])
        finally:
            part("a")

    def at_keywords(environ, start_response):
        end = pair("a")
        readable = environ["x-wsgiorg.fdevent.readable"]
        try:
            return answer(start_response, [raised(lambda: readable(end, timeout=1.0)),
                                           raised(lambda: readable(fd=end))])
        finally:
            part("a")
    """


def test_what_cannot_be_waited_for(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        found = server.get("/refused").json()
    kinds = {name: (one if one == "accepted" else one[0]) for name, one in found.items()}
    for direction in ("readable", "writable"):
        for name in ("file", "directory"):
            kind, errno, text = found[f"{name}, {direction}"]
            assert (kind, errno) == ("PermissionError", 1) and len(text) > 30, text
        assert "regular file" in found[f"file, {direction}"][2]
        for name in ("closed", "large"):
            assert found[f"{name}, {direction}"][:2] == ["OSError", 9], found
        for name in ("negative", "very negative", "very large", "fileno of -1", "closed file", "closed socket"):
            assert kinds[f"{name}, {direction}"] in ("OSError", "ValueError", "OverflowError"), (name, found)
        for name in ("none", "text", "float", "object", "fileno of text"):
            assert kinds[f"{name}, {direction}"] == "TypeError", (name, found)
        assert kinds[f"fileno raises, {direction}"] == "KeyError"


def test_the_next_call_works(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        client = send(server, "/after")
        server.get("/send?a")
        kinds = client.read_response().json()
        assert kinds[0] == "PermissionError" and kinds[1] in ("OSError", "ValueError")
        client.close()


def test_nothing_was_asked_for(nginx):
    server = serve(nginx, APP)
    assert server.get("/without").json() in ("OSError", "ValueError")


def test_the_line_in_the_log(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.get("/uncaught").status == 500
    server.wait_for_log("PermissionError: .*regular file")


def test_dev_null(nginx):
    """epoll refuses it; where it is taken it is always ready."""
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.get("/null").json() in ("PermissionError", None)


def test_times_that_are_none(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        found = server.get("/times").json()
    assert found[:2] == ["ValueError"] * 2 and found[2] == "ValueError" and found[3] in ("ValueError", "OverflowError")
    assert found[4:] == ["TypeError"] * 3


def test_long_times(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.get("/long").json() == [None] * 6


def test_positional_only(nginx):
    server = serve(nginx, APP)
    with nothing_left(server):
        assert server.get("/keywords").json() == ["TypeError"] * 2
