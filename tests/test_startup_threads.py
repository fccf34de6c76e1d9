"""Threads that an application starts go on while nginx waits for events."""

import time

import pytest

from harness.nginx import cpu, wait_for

pytestmark = pytest.mark.once

TICKING = """
import os
import threading
import time

FILE = os.path.join(os.path.dirname(__file__), "ticks")


def tick():
    with open(FILE, "ab", buffering=0) as file:
        while True:
            file.write(b".")
            time.sleep(0.005)


threading.Thread(target=tick, daemon=True).start()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


def ticks(folder):
    file = folder / "ticks"
    return file.stat().st_size if file.exists() else 0


def test_ticks_while_idle_from_the_start(nginx, folder):
    nginx("location / { wsgi_pass app.py; }", apps={"app.py": TICKING})
    wait_for(lambda: ticks(folder) > 20, "twenty ticks without a single request", 5)


def test_ticks_after_a_request(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": TICKING})
    assert server.get("/").status == 200
    now = ticks(folder)
    wait_for(lambda: ticks(folder) > now + 20, "twenty ticks after the request", 5)


def test_ticks_while_a_slow_client_reads(nginx, folder):
    """A suspended generator holds nothing."""
    server = nginx("location / { wsgi_pass app.py; } location /big { wsgi_pass big.py; }", apps={
        "app.py": TICKING, "big.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(256):
        yield b"x" * 65536
"""})
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/big")
    client.read_head()
    now = ticks(folder)
    wait_for(lambda: ticks(folder) > now + 20, "twenty ticks while the client does not read", 5)


def test_a_busy_thread_does_not_stop_requests(nginx):
    """A thread that computes gives the interpreter up every few milliseconds, as in any Python."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import threading
import time

stop = time.monotonic() + 3

def burn():
    while time.monotonic() < stop:
        pass

threading.Thread(target=burn, daemon=True).start()

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    for _ in range(5):
        assert server.get("/").status == 200


@pytest.mark.inline_only
def test_main_thread(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import threading

AT_IMPORT = threading.current_thread() is threading.main_thread()

def application(environ, start_response):
    assert AT_IMPORT
    assert threading.current_thread() is threading.main_thread()
    assert threading.active_count() == 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    assert server.get("/").status == 200, server.tail()


def test_an_idle_worker_uses_no_cpu(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    server.get("/")
    before = cpu(server.worker)
    time.sleep(0.5)  # the quiet itself is what is looked at
    assert cpu(server.worker) - before <= 0.02


def test_asyncio_run_in_a_request(nginx):
    """As asynchronous views of Flask and Django do it."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import asyncio
import concurrent.futures

pool = concurrent.futures.ThreadPoolExecutor(2)

async def work():
    await asyncio.sleep(0.001)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, sum, [1, 2, 3])

def application(environ, start_response):
    result = asyncio.run(work()) + pool.submit(sum, [4]).result()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(result).encode()]
"""})
    for _ in range(3):
        assert server.get("/").body == b"10"
    assert not server.log_lines("signal.signal")
