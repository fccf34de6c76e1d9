"""HUP while HTTP/2 streams and TLS connections are open: what runs is finished, by the worker that began it."""

import pytest

from harness.nginx import alive, wait_for

APP = """
import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/slow":
        return slow()
    return [str(os.getpid()).encode()]


def slow():
    try:
        for _ in range(50):
            yield b"x" * 32768
        yield str(os.getpid()).encode()
    finally:
        print("closed")
"""
LENGTH = 50 * 32768


@pytest.mark.parametrize("tls", [False, True])
def test_running_streams_are_finished(nginx, tls):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, tls=True, h2c=True)
    old = server.worker
    client = server.h2(tls=tls, hold=True)
    streams = [client.send_request("GET", "/slow") for _ in range(3)]
    client.wait(lambda: sum(len(stream.body) for stream in streams) == 65535, "a full window")
    server.hup(wait_old=False)
    assert server.get("/").text == str(server.worker)
    client.hold = False
    client.release()
    client.finish(*streams)
    for stream in streams:
        assert stream.complete and stream.body[LENGTH:] == str(old).encode()
    client.close()  # nginx lingers as long as the client does
    wait_for(lambda: not alive(old), "the old worker is gone")
    assert len(server.log_lines("wsgi: closed")) == 3


def test_streams_of_clients_that_leave_do_not_hold_the_old_worker(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, h2c=True)
    old = server.worker
    client = server.h2(hold=True)
    streams = [client.send_request("GET", "/slow") for _ in range(2)]
    client.wait(lambda: sum(len(stream.body) for stream in streams) == 65535, "a full window")
    server.hup(wait_old=False)
    client.reset(streams[0])
    server.wait_for_log("wsgi: closed")
    client.close()
    wait_for(lambda: not alive(old), "the old worker is gone")
    assert len(server.log_lines("wsgi: closed")) == 2


def test_tls_keep_alive(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, tls=True)
    client = server.connect(tls=True)
    assert client.request("GET", "/").text == str(server.worker)
    server.hup()
    assert client.closed(), "an idle connection is closed"
    assert server.get("/", tls=True).text == str(server.worker)
