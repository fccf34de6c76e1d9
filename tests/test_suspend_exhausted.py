"""worker_connections or descriptors run out: an exception in the application, and afterwards all is well."""

import pytest

from harness.apps import notes
from harness.waiting import nothing_left, resume, send, serve

pytestmark = pytest.mark.inline_only

APP = """
    import errno
    import resource

    def wait_for_many(environ, count):
        # As many watches as there may be; the exception that ends it.
        for number in range(count):
            try:
                environ["x-wsgiorg.fdevent.readable"](pair(number))
            except OSError as error:
                note("error", type(error).__name__, errno.errorcode[error.errno], str(error))
                part(number)
                return number
        return count

    def at_many(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            said = wait_for_many(environ, 100)
            environ["x-wsgiorg.suspend"](100)
            yield b""
            yield json.dumps(said).encode()
        finally:
            for name in list(pairs):
                part(name)

    def at_uncaught(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            for number in range(1000):
                item = environ["x-wsgiorg.fdevent.readable"](pair(number))
            yield item
        finally:
            for name in list(pairs):
                part(name)

    def at_polls(environ, start_response):
        start_response("200 OK", PLAIN)
        try:
            for number in range(1000):
                environ["ngx.poll_register"](environ["ngx.connection_wrapper"](pair(number)), 1)
            said = raised(environ["ngx.poll"], 20000)
            yield b""
            yield json.dumps(said).encode()
        finally:
            for name in list(pairs):
                part(name)

    def at_one(environ, start_response):
        start_response("200 OK", PLAIN)
        said = raised(environ["x-wsgiorg.fdevent.readable"], pair("one"), 0.01)
        if said is None:
            yield b""
        part("one")
        yield json.dumps(said).encode()

    def at_suspends(environ, start_response):
        start_response("200 OK", PLAIN)
        environ["x-wsgiorg.suspend"](10)
        yield b""
        yield b"suspended"

    def at_limited(environ, start_response):
        # No descriptor is left but those that the pair takes.
        start_response("200 OK", PLAIN)
        end, other = pair("a"), environ["x-wsgiorg.fdevent.readable"]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.dup(0)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            item = environ["x-wsgiorg.fdevent.readable"](end, 0.01)
            said = None
        except OSError as error:
            said = errno.errorcode[error.errno]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        yield b""
        end.setblocking(False)
        pairs["a"][1].send(b"x")
        yield environ["x-wsgiorg.fdevent.readable"](end)
        part("a")
        yield json.dumps(said).encode()
    """


def test_worker_connections(nginx):
    server = serve(nginx, APP, connections=40)
    with nothing_left(server):
        for _ in range(3):
            assert 10 < server.get("/many").json() < 40
            for _ in range(15):
                assert server.get("/one").json() is None
                assert server.get("/suspends").body == b"suspended"
    lines = notes(server, "error")
    assert len(lines) == 3
    assert all(line.startswith("error OSError ENOBUFS") and '"worker_connections" are not enough' in line
               for line in lines), lines


def test_nobody_catches_it(nginx):
    server = serve(nginx, APP, connections=40)
    with nothing_left(server):
        for _ in range(3):
            assert server.get("/uncaught").status == 500
            assert server.get("/one").json() is None
    server.wait_for_log('OSError: .*"worker_connections" are not enough')


def test_poll(nginx):
    """What it had got before the error it gives back."""
    server = serve(nginx, APP, connections=40)
    with nothing_left(server):
        for _ in range(3):
            assert server.get("/polls").json() == "OSError"
            assert server.get("/one").json() is None


def test_suspended_requests_need_no_connection_of_their_own(nginx):
    server = serve(nginx, connections=40)
    with nothing_left(server):
        clients = [send(server, f"/wait?{number}") for number in range(20)]
        for number, client in enumerate(clients):
            assert resume(server, number) is True
            assert client.read_response().body == b"done %d" % number


def test_descriptors(nginx):
    """The watch takes a descriptor of its own, or does without."""
    server = serve(nginx, APP)
    with nothing_left(server):
        for _ in range(3):
            assert server.get("/limited").json() in ("EMFILE", None)
