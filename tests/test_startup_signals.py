"""Signals of a worker are nginx's: applications cannot take them, and it stays controllable."""

import pytest

from harness.nginx import wait_for

APP = """
import signal

results = []


def handler(number, frame):
    results.append(number)


for name in ("SIGTERM", "SIGQUIT", "SIGINT", "SIGUSR1", "SIGHUP", "SIGCHLD", "SIGALRM", "SIGIO", "SIGPIPE"):
    signal.signal(getattr(signal, name), handler)


def application(environ, start_response):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(results).encode()]
"""
WARNING = r"signal\.signal\((SIG\w+)\) is refused: nginx owns the signals of its workers"


@pytest.mark.parametrize("name", ["QUIT", "TERM", "INT"])
def test_worker_obeys_its_master(nginx, name):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    assert server.get("/").body == b"[]"
    server.wait_for_log(WARNING, count=10)
    server.stop(name)


def test_reload_and_reopen(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    worker = server.worker
    (folder / "error.log").rename(folder / "error.log.1")
    server.signal("USR1")
    wait_for(lambda: (folder / "error.log").exists(), "the reopened log")
    assert server.get("/").status == 200
    server.wait_for_log(WARNING)
    assert server.worker == worker
    server.hup()
    assert server.worker != worker
    assert server.get("/").body == b"[]"


def test_the_warning_names_the_place(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    line = server.wait_for_log(WARNING)[0]
    assert f"{folder}/app.py:" in line


def test_worker_survives_signals_that_the_application_would_have_caught(nginx):
    """HUP, USR2, PIPE and CHLD to a worker do nothing, as without the module."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    worker = server.worker
    for name in ("HUP", "USR2", "PIPE", "CHLD"):
        server.signal(name, worker)
        assert server.get("/").body == b"[]"
    assert server.worker == worker


def test_reading_the_handler_works(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import signal

def application(environ, start_response):
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) == before
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    assert server.get("/").status == 200, server.tail()
