"""A crash in a C extension costs one worker; the others never notice and the master replaces it."""

import threading

from harness.http import Truncated
from harness.nginx import alive, wait_for

APP = """
import ctypes
import os


def application(environ, start_response):
    if environ["PATH_INFO"] == "/crash":
        ctypes.string_at(0)
    if environ["PATH_INFO"] == "/exit":
        os._exit(3)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def crash(server, target="/crash"):
    try:
        answer = server.get(target)
    except (Truncated, ConnectionError):
        return None
    return answer.status


def pinned(server, pid):
    """A keep-alive connection that a certain worker serves."""
    for _ in range(200):
        client = server.connect()
        if client.request("GET", "/").text == str(pid):
            return client
        client.close()
    raise AssertionError(f"no connection reached worker {pid}")


def test_segfault_kills_one_worker_only(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, workers=2,
                   http="keepalive_requests 1000000;", allow=[r"exited on signal 11"], check_connections=False,
                   check_fds=False)  # the other worker gets a channel to the new one
    workers = server.workers()
    first, second = (pinned(server, pid) for pid in workers)
    results = []
    stop = threading.Event()

    def load():
        while not stop.is_set():
            results.append(second.request("GET", "/").text)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        first.send_request("GET", "/crash")
        assert first.closed(), "the crashed worker answers nothing"
        wait_for(lambda: not alive(workers[0]), "the first worker is gone")
        wait_for(lambda: len(server.workers()) == 2, "the master replaced it")
        count = len(results)
        wait_for(lambda: len(results) > count + 10, "the second worker goes on")
    finally:
        stop.set()
        thread.join()
    assert set(results) == {str(workers[1])}
    assert workers[1] in server.workers() and workers[0] not in server.workers()
    for _ in range(10):
        assert server.get("/").status == 200
    assert len(server.log_lines("exited on signal 11")) == 1


def test_replaced_worker_serves(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, allow=[r"exited on signal 11"],
                   check_connections=False)
    for _ in range(2):
        worker = server.worker
        assert crash(server) is None
        wait_for(lambda: server.workers() not in ([], [worker]), "a new worker")
        assert server.get("/").text == str(server.worker)


def test_os_exit_is_replaced_too(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, check_connections=False,
                   allow=[r"exited with code 3", r"exited with fatal"])
    worker = server.worker
    assert crash(server, "/exit") is None
    wait_for(lambda: server.workers() not in ([], [worker]), "a new worker")
    assert server.get("/").text == str(server.worker)


def test_fork_without_exec_does_not_serve(nginx):
    """os.fork() in an application: the child ends by itself, the worker and its connections are unharmed."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import os

def application(environ, start_response):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {os.waitstatus_to_exitcode(status)}".encode()]
"""})
    with server.connect() as client:
        for _ in range(5):
            assert client.request("GET", "/").text == f"{server.worker} 0"
