"""Clients that leave: while they wait, while they are served; nothing of them stays."""

import pytest

from harness.apps import notes, settled, touch, wait_notes
from harness.nginx import open_fds, wait_for
from harness.threads import ask, serve, threads_of, wait_in_nginx


def logged(server, request, status):
    wait_for(lambda: [line for line in server.access_lines() if f'"{request} HTTP/1.1" {status} ' in line],
             lambda: f"{request} {status} in the access log: {server.access_lines()}")


@pytest.mark.parametrize("how", ["reset", "close"])
def test_who_leaves_the_queue_never_reaches_python(nginx, how):
    server = serve(nginx, threads=1)
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    leaves, stays = ask(server, "/hello?leaves"), ask(server, "/hello?stays")
    wait_in_nginx(server, 3)
    leaves.reset() if how == "reset" else leaves.close()
    logged(server, "GET /hello?leaves", 499)
    wait_in_nginx(server, 2)
    touch(server, "go")
    assert first.read_response().body == b"go" and stays.read_response().body == b"hello"
    assert notes(server, "hello") == ["hello stays"]


def test_a_stream_that_is_reset_in_the_queue(nginx):
    server = serve(nginx, threads=1, h2c=True)
    client = server.h2()
    first = client.send_request("GET", "/wait?go")
    wait_notes(server, "wait")
    leaves, stays = client.send_request("GET", "/hello?leaves"), client.send_request("GET", "/hello?stays")
    wait_in_nginx(server, 3)
    client.reset(leaves)
    wait_in_nginx(server, 2)
    touch(server, "go")
    client.finish(first, stays)
    assert stays.body == b"hello"
    assert notes(server, "hello") == ["hello stays"]


def test_who_leaves_makes_room_in_the_queue(nginx):
    server = serve(nginx, threads="1 queue=1")
    first = ask(server, "/wait?go")
    wait_notes(server, "wait")
    leaves = ask(server, "/hello?leaves")
    wait_in_nginx(server, 2)
    assert server.get("/hello").status == 503
    leaves.reset()
    logged(server, "GET /hello?leaves", 499)
    stays = ask(server, "/hello?stays")
    wait_in_nginx(server, 2)
    touch(server, "go")
    assert first.read_response().body == b"go" and stays.read_response().body == b"hello"


def test_an_application_without_a_client_comes_to_its_end(nginx):
    server = serve(nginx, """
        def at_body(environ, start_response):
            note("wait", threading.get_ident())
            block_until_there("go")
            start_response("200 OK", PLAIN)
            class Closing(list):
                def close(self):
                    note("close", threading.get_ident())
            return Closing([b"x" * 200_000])
        """)
    client = ask(server, "/body")
    (note,) = wait_notes(server, "wait")
    client.reset()
    # Others go on, and the thread is taken until the application is done.
    assert server.get("/hello").body == b"hello"
    touch(server, "go")
    assert wait_notes(server, "close") == [note.replace("wait", "close")]
    assert server.get("/hello").body == b"hello"
    assert len(notes(server, "close")) == 1


def test_a_generator_is_closed_at_its_next_step(nginx):
    server = serve(nginx, """
        def at_generator(environ, start_response):
            start_response("200 OK", PLAIN)
            ident = threading.get_ident()
            try:
                yield b"first"
                note("second")
                block_until_there("go")
                for number in range(1000):
                    note("step")
                    yield b"x" * 1000
            finally:
                note("finally", threading.get_ident() == ident)
        """)
    client = server.connect()
    client.send_request("GET", "/generator")
    client.read_head()
    wait_notes(server, "second")
    client.reset()
    settled(lambda: server.status()["active"])
    touch(server, "go")
    assert wait_notes(server, "finally") == ["finally True"]
    # The event is on its way while a step or two are made.
    assert len(notes(server, "step")) < 1000
    assert server.get("/hello").body == b"hello"
    assert len(notes(server, "finally")) == 1


@pytest.mark.parametrize("how", ["reset", "close", "stream"])
def test_many_aborted_requests_leave_nothing(nginx, how):
    """No thread, descriptor or connection: the harness compares the last two with the start."""
    server = serve(nginx, """
        def at_many(environ, start_response):
            time.sleep(0.002)
            start_response("200 OK", PLAIN)
            return iter([b"x" * 100_000] * 20)
        """, threads="4 queue=200", h2c=True)
    assert server.get("/hello").body == b"hello"
    clients = [ask(server, f"/wait?go{number}") for number in range(4)]
    wait_notes(server, "wait", 4)
    threads, fds = len(threads_of(server.worker)), len(open_fds(server.worker))
    for number, client in enumerate(clients):
        touch(server, f"go{number}")
        client.read_response()
        client.close()
    for _ in range(5):
        if how == "stream":
            client = server.h2(hold=True)
            streams = [client.send_request("GET", "/many") for _ in range(40)]
            client.wait(lambda: any(stream.body for stream in streams))
            for stream in streams:
                client.reset(stream)
            client.close()
            continue
        clients = [server.connect(rcvbuf=4096) for _ in range(40)]
        for client in clients:
            client.send_request("GET", "/many")
        clients[0].read_head()
        for client in clients:
            client.reset() if how == "reset" else client.close()
    wait_in_nginx(server, 0)
    assert server.get("/hello").body == b"hello"
    assert len(threads_of(server.worker)) <= threads
    wait_for(lambda: len(open_fds(server.worker)) <= fds, lambda: f"descriptors: {open_fds(server.worker)}")


def test_clients_that_come_and_go_while_all_threads_are_stuck(nginx):
    server = serve(nginx, threads="2 queue=1000")
    stuck = [ask(server, "/wait?go") for _ in range(2)]
    wait_notes(server, "wait", 2)
    for _ in range(10):
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            client.send_request("GET", "/hello")
        for client in clients:
            client.reset()
    wait_in_nginx(server, 2)
    last = ask(server, "/hello?last")
    touch(server, "go")
    assert [client.read_response().body for client in stuck] == [b"go"] * 2
    assert last.read_response().body == b"hello"
    assert notes(server, "hello") == ["hello last"]
