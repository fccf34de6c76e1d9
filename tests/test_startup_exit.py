"""The end of a worker: atexit functions run, and nothing an application does can hold it for ever."""

import time

import pytest

from harness.nginx import SLOW, wait_for

pytestmark = pytest.mark.once

APP = """
import atexit
import os

FILE = os.path.join(os.path.dirname(__file__), "ended")


def ended(word):
    with open(FILE, "a") as file:
        file.write(f"{word} {os.getpid()}\\n")


atexit.register(ended, "first registered")
atexit.register(ended, "last registered")
atexit.register(print, "printed at exit")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


def ended(folder):
    return (folder / "ended").read_text().splitlines() if (folder / "ended").exists() else []


def both(pid):
    return [f"last registered {pid}", f"first registered {pid}"]


@pytest.mark.parametrize("name", ["QUIT", "TERM"])
def test_atexit_when_nginx_ends(nginx, folder, name):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    worker = server.worker
    assert server.get("/").status == 200
    server.stop(name)
    assert ended(folder) == both(worker)
    assert server.log_lines("printed at exit")


def test_atexit_when_a_reload_ends_the_worker(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    worker = server.worker
    server.hup()
    assert ended(folder) == both(worker)


def test_atexit_in_each_worker_once(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, workers=3)
    workers = server.workers()
    server.stop()
    assert sorted(ended(folder)) == sorted(line for pid in workers for line in both(pid))


def test_atexit_that_raises(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP + """
def broken():
    raise ValueError("broken at exit")

atexit.register(broken)
"""})
    worker = server.worker
    server.stop()
    assert ended(folder) == both(worker)
    assert server.log_lines("ValueError: broken at exit")


STUCK = {
    "sleeping": "atexit.register(time.sleep, 3600)",
    "busy": "def spin():\n    while True:\n        pass\natexit.register(spin)",
    "swallowing": """
def swallow():
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass
atexit.register(swallow)
""",
    "thread": "threading.Thread(target=time.sleep, args=(3600,)).start()",
    "daemon": "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
    "lock": "lock = threading.Lock()\nlock.acquire()\natexit.register(lock.acquire)",
}
STUCK_APP = """
import atexit
import threading
import time

{code}

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


@pytest.mark.slow
def test_stuck_exit_does_not_hang_the_worker(nginx):
    """The bound is a matter of seconds, not of ever. All at once, because each of them takes its time."""
    servers = {}
    for kind, code in STUCK.items():
        servers[kind] = nginx("location / { wsgi_pass app.py; }", apps={"app.py": STUCK_APP.format(code=code)})
        assert servers[kind].get("/").status == 200
    reloaded = nginx("location / { wsgi_pass app.py; }", apps={"app.py": STUCK_APP.format(code=STUCK["sleeping"])})
    before = time.monotonic()
    for server in servers.values():
        server.signal("QUIT")
    # While an old worker is stuck in its end, the new one serves.
    reloaded.hup(wait_old=False)
    for _ in range(5):
        assert reloaded.get("/").status == 200
    assert servers["daemon"].wait_exit(5) == 0, "a daemon thread holds nothing up"
    for server in servers.values():
        assert server.wait_exit(20) == 0
    wait_for(lambda: len(reloaded.all_children()) == 1, "the old worker is gone", 20)
    assert time.monotonic() - before < 20 * SLOW
    for kind in ("sleeping", "busy", "swallowing", "lock"):
        assert servers[kind].log_lines(r"wsgi: the atexit functions did not end"), kind
    reloaded.stop()


@pytest.mark.parametrize("name", ["QUIT", "TERM"])
def test_busy_threads_at_exit(nginx, name):
    """Threads that compute and print while their process ends do not crash it."""
    server = nginx("location / { wsgi_pass app.py; }", workers=2, apps={"app.py": """
import json
import threading
import time

def burn():
    while True:
        json.dumps({str(number): [number] * 10 for number in range(100)})

def tell():
    while True:
        print("still here")
        time.sleep(0.001)

for _ in range(2):
    threading.Thread(target=burn, daemon=True).start()
threading.Thread(target=burn).start()
threading.Thread(target=tell, daemon=True).start()

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""})
    for _ in range(2):
        assert server.get("/").status == 200
        server.hup()
    server.stop(name)


def test_weak_references_and_globals_at_exit(nginx):
    """Objects that live at exit do not crash it."""
    nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import weakref

class Thing:
    def __del__(self):
        print("deleted")

thing = Thing()
thing.me = thing
weakref.finalize(thing, print, "finalized")

def application(environ, start_response):
    environ["keep"] = environ
    application.environ = environ
    application.start_response = start_response
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""}).get("/")
