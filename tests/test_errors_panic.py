"""A Rust panic (only checked builds can be made to have one): logged, 500, and the worker goes on."""

import pathlib

import pytest

from harness.http import Truncated
from harness.nginx import MODULE

APP = """
import ngx_wsgi


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/has":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"yes" if hasattr(ngx_wsgi, "_panic") else b"no"]
    if path == "/call":
        ngx_wsgi._panic("call")
    if path == "/call-in-generator":
        return generator(start_response, "call", b"first")
    if path == "/step":
        return generator(start_response, "step", b"")
    if path == "/late-step":
        return generator(start_response, "step", b"first")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"normal"]


def generator(start_response, stage, first):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        yield first
        ngx_wsgi._panic(stage)
        yield b""  # gives the loop back; the next turn is the one that panics
        yield b"second"
    finally:
        print("closed")
"""


@pytest.fixture
def server(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, allow=[r"wsgi: .*panic", r"panicked at"])
    if server.get("/has").text == "no":
        pytest.skip("this build has no ngx_wsgi._panic")
    return server


@pytest.mark.parametrize("target", ["/call", "/step"])
def test_before_the_headers(server, target):
    worker = server.worker
    for _ in range(2):
        assert server.get(target).status == 500
        assert server.get("/").text == "normal"
    assert server.worker == worker
    server.wait_for_log("wsgi: .*panic")


@pytest.mark.parametrize("target", ["/late-step", "/call-in-generator"])
def test_after_the_headers(server, target):
    worker = server.worker
    with server.connect() as client:
        client.send_request("GET", target)
        with pytest.raises(Truncated) as caught:
            client.read_response()
    assert caught.value.response.status == 200
    assert caught.value.response.body == b"first"
    assert server.get("/").text == "normal"
    assert server.worker == worker
    server.wait_for_log("wsgi: .*panic")
    assert len(server.log_lines("wsgi: closed")) == 1


def test_release_builds_cannot(nginx):
    """The function that provokes it is not there for applications to find."""
    kind = pathlib.Path(MODULE).resolve().parent.name
    if kind not in ("debian", "vendored"):
        pytest.skip("it is not known how this module was built")
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    assert server.get("/has").text == ("no" if kind == "debian" else "yes")
