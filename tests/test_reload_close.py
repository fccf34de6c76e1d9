"""close() of an iterable that is still alive when its worker ends: once, whichever way the worker ends."""

import pytest

from harness.http import Truncated
from harness.nginx import alive, wait_for

APP = """
import os

FILE = os.path.join(os.path.dirname(__file__), "events")


def event(text):
    with open(FILE, "a") as file:
        file.write(text + "\\n")


class Body:
    def __init__(self, blocks):
        self.blocks = blocks

    def __iter__(self):
        for number in range(self.blocks):
            yield b"x" * 65536
        event("exhausted")

    def close(self):
        event("close")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body(int(environ["QUERY_STRING"] or 100))


def generator(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        for _ in range(int(environ["QUERY_STRING"] or 100)):
            yield b"x" * 65536
        event("exhausted")
    finally:
        event("close")
"""
SERVER = "location / { wsgi_pass app.py; } location /generator { wsgi_pass app.py generator; }"


def events(folder):
    return (folder / "events").read_text().split() if (folder / "events").exists() else []


def suspended(server, target="/", **options):
    """A request whose client has stopped reading amid the body."""
    client = server.connect(rcvbuf=4096, **options)
    client.send_request("GET", target)
    head = client.read_head()
    return client, head


@pytest.mark.parametrize("target", ["/", "/generator"])
@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_fast_shutdown(nginx, folder, target, name):
    server = nginx(SERVER, apps={"app.py": APP})
    client, head = suspended(server, target)
    server.signal(name)
    assert server.wait_exit() == 0
    assert events(folder) == ["close"]
    with pytest.raises(Truncated):
        client.read_body(head)


@pytest.mark.parametrize("target", ["/", "/generator"])
def test_graceful_shutdown_lets_the_answer_finish(nginx, folder, target):
    server = nginx(SERVER, apps={"app.py": APP})
    client, head = suspended(server, target)
    server.signal("QUIT")
    server.wait_for_log("gracefully shutting down")
    assert events(folder) == []
    client.read_body(head)
    assert len(head.body) == 100 * 65536
    assert server.wait_exit() == 0
    assert events(folder) == ["exhausted", "close"]


@pytest.mark.parametrize("target", ["/", "/generator"])
def test_worker_shutdown_timeout(nginx, folder, target):
    """nginx closes what is still open when the time is over; that ends in close() too."""
    server = nginx(SERVER, apps={"app.py": APP}, main="worker_shutdown_timeout 300ms;")
    client, head = suspended(server, target)
    old = server.worker
    server.hup(wait_old=False)
    wait_for(lambda: not alive(old), "the old worker is gone", 10)
    assert events(folder) == ["close"]
    with pytest.raises(Truncated):
        client.read_body(head)


def test_reload(nginx, folder):
    server = nginx(SERVER, apps={"app.py": APP})
    old = server.worker
    client, head = suspended(server)
    server.hup(wait_old=False)
    assert server.get("/?1").status == 200
    # The client has its answer a moment before close() runs.
    wait_for(lambda: events(folder) == ["exhausted", "close"], "close() of the new request")
    client.read_body(head)
    wait_for(lambda: not alive(old), "the old worker is gone")
    assert events(folder) == ["exhausted", "close"] * 2


@pytest.mark.parametrize("count", [5])
def test_fast_shutdown_with_several(nginx, folder, count):
    server = nginx(SERVER, apps={"app.py": APP}, tls=True, h2c=True)
    clients = [suspended(server, "/" if number % 2 else "/generator")[0] for number in range(count)]
    clients.append(suspended(server, "/", tls=True)[0])
    http2 = server.h2(hold=True)
    streams = [http2.send_request("GET", "/"), http2.send_request("GET", "/generator")]
    http2.wait(lambda: sum(len(stream.body) for stream in streams) == 65535, "a full window")
    server.signal("TERM")
    assert server.wait_exit() == 0
    assert events(folder) == ["close"] * (len(clients) + len(streams))


def test_client_gone(nginx, folder):
    server = nginx(SERVER, apps={"app.py": APP})
    for number, target in enumerate(["/", "/generator"], 1):
        client, _ = suspended(server, target)
        client.reset()
        wait_for(lambda: events(folder) == ["close"] * number, "close() after the client left")


def test_send_timeout(nginx, folder):
    server = nginx("send_timeout 300ms; " + SERVER, apps={"app.py": APP})
    client, head = suspended(server)
    wait_for(lambda: events(folder) == ["close"], "close() after send_timeout")
    with pytest.raises(Truncated):
        client.read_body(head)
    assert server.log_lines("client timed out")


def test_in_single_process_mode(nginx, folder):
    server = nginx(SERVER, apps={"app.py": APP}, master=False)
    client, head = suspended(server)
    server.signal("TERM")
    assert server.wait_exit() == 0
    assert events(folder) == ["close"]
    with pytest.raises(Truncated):
        client.read_body(head)


def test_close_that_hangs_at_fast_shutdown(nginx):
    """It may cost seconds, not for ever."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import time

class Body:
    def __iter__(self):
        while True:
            yield b"x" * 65536

    def close(self):
        time.sleep(3600)

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body()
"""}, allow=[r"exited on signal", r"\[alert\]"])
    suspended(server)
    server.signal("TERM")
    assert server.wait_exit(30) == 0
