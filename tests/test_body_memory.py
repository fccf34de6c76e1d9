"""wsgi_body_memory: which bodies stay in memory, and which nginx writes to a file."""

import hashlib

import pytest

from harness.apps import forget, serve, touch, wait_notes
from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count
from harness.nginx import open_fds

NAME = "wsgi_body_memory"
MIB = 1 << 20
APP = """
    import hashlib

    def at_read(environ, start_response):
        body = environ["wsgi.input"].read()
        return answer(start_response, [len(body), hashlib.sha256(body).hexdigest()])

    def at_hold(environ, start_response):
        note("holds")
        block_until_there("go")
        return at_read(environ, start_response)
    """


def data(size):
    return (b"0123456789abcdefghijklmnopqrstuvwxyz\n" * (size // 37 + 1))[:size]


def files(server):
    return [target for target in open_fds(server.worker).values() if "temp_client_body" in target]


def expect(answer, body):
    assert answer.json() == [len(body), hashlib.sha256(body).hexdigest()]


def is_in_file(server, body, chunked=False):
    """Where this body is when the application runs, which then reads it."""
    client = server.connect()
    client.send_request("POST", "/hold", body=body, chunked=chunked)
    wait_notes(server, "holds")
    found = files(server)
    touch(server, "go")
    expect(client.read_response(), body)
    forget(server)
    (server.folder / "go").unlink()
    return bool(found)


@pytest.mark.parametrize("http, size, wanted", [
    ("", 1000, False), ("", 20_000, False), ("", MIB, False),
    ("", 16 * MIB, False), ("", 16 * MIB + 1, True),
    (f"{NAME} 100k;", 102_400, False), (f"{NAME} 100k;", 102_401, True),
    (f"{NAME} off;", 1000, False), (f"{NAME} off;", 20_000, True), (f"{NAME} 0;", 20_000, True),
    # Who says how large the buffer is means it.
    ("client_body_buffer_size 1k;", 20_000, True), ("client_body_buffer_size 16k;", 100_000, True),
    ("client_body_in_file_only clean;", 20_000, True),
    # A thread would have a copy.
    ("wsgi_threads 1;", 1000, False), ("wsgi_threads 1;", 20_000, True),
])
def test_where_a_body_is(nginx, http, size, wanted):
    server = serve(nginx, APP, http=f"client_max_body_size 0; {http}")
    assert is_in_file(server, data(size)) == wanted


def test_a_body_without_a_length_goes_the_usual_way(nginx):
    server = serve(nginx, APP)
    assert is_in_file(server, data(100_000), chunked=True)


def test_what_is_in_use_is_counted(nginx):
    server = serve(nginx, APP, http=f"{NAME} 100k;")
    body = data(60_000)
    slow = server.connect()
    # The length counts from the beginning, however slowly the body comes.
    slow.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + body[:10])
    # An answer that comes after shows that nginx has seen it.
    expect(server.post("/read", b"x"), b"x")
    assert is_in_file(server, body)
    slow.send(body[10:])
    expect(slow.read_response(), body)
    expect(slow.request("POST", "/read", body=body), body)
    assert not is_in_file(server, body)


def test_what_a_client_leaves_behind_is_free_again(nginx):
    server = serve(nginx, APP, http=f"{NAME} 100k;")
    for _ in range(3):
        client = server.connect()
        client.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n0123456789")
        expect(server.post("/read", b"x"), b"x")
        client.close()
        expect(server.post("/read", b"x"), b"x")
        assert not is_in_file(server, data(60_000))


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("how", ["plain", "tls", "h2"])
def test_many_bodies_on_one_connection(nginx, threads, how):
    server = serve(nginx, APP, http=f"wsgi_threads {threads}; client_max_body_size 0;", tls=True, h2c=True)
    client = server.h2() if how == "h2" else server.connect(tls=how == "tls")
    for size in (1, 20_000, MIB, 0, 3 * MIB, 50_000, 17 * MIB, MIB):
        body = data(size)
        headers = [("content-length", str(size))]
        expect(client.request("POST", "/read", headers, body) if how == "h2"
               else client.request("POST", "/read", body=body), body)


def test_a_location_that_it_is_redirected_to_has_the_body_too(nginx):
    server = serve(nginx, APP + """
    def at_first(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/read")])
        return []
    """)
    client = server.connect()
    for _ in range(2):
        expect(client.request("POST", "/first", body=data(100_000)), data(100_000))


# -- the directive ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value", ["off", "0", "100000", "512k", "64m", "1g"])
def test_accepted(nginx, app, value):
    app("")
    accepts(nginx("location / { wsgi_pass app.py; }", http=f"{NAME} {value};", start=False))


@pytest.mark.parametrize("place", ["main", "events", "server"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: f"{NAME} 1m;"}), NAME, not_allowed(NAME))


@pytest.mark.parametrize("directive, said", [
    (f"{NAME};", wrong_count(NAME)), (f"{NAME} 1m 2m;", wrong_count(NAME)),
    *[(f'{NAME} "{value}";', f'"{NAME}" directive takes a size or "off"') for value in ("", "on", "-1", "1t", "1.5g")],
])
def test_refused(nginx, directive, said):
    refuses(nginx(http=f"\n{directive}\n", start=False), directive, said)


def test_duplicate(nginx):
    refuses(nginx(http=f"\n{NAME} 1m;\n{NAME} off;\n", start=False), f"{NAME} off;", duplicate(NAME))
