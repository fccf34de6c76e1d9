"""The servers of the soak test, on top of the tests' own: they look after ports, configuration, and the end."""

import pathlib
import random
import shutil
import threading
import time

from harness.nginx import Nginx

from . import app

HTTP = """
    wsgi_env SOAK_FILE %%FOLDER%%/stock.bin;
    wsgi_thread_pool wide threads={threads} queue=1000;
    wsgi_thread_pool narrow threads=1 queue=1;
    wsgi_thread_pool patient threads=4 queue=100;
    keepalive_requests 100000;
    client_max_body_size 64m;
    client_body_timeout 20s;
    send_timeout 20s;
"""

# glibc gives threads heaps of their own, which fill up slowly and for minutes: a leak would not be seen beside that.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}

# Where the same application is found, and what is different there.
LOCATIONS = {
    "plain": "wsgi_threads wide;",
    "buffered": "wsgi_threads wide; wsgi_output_buffering on;",
    "spooled": "wsgi_threads wide; wsgi_write_buffering on;",
    "zipped": "wsgi_threads wide; gzip on; gzip_types *; gzip_min_length 0;",
    "narrow": "wsgi_threads narrow;",
    "unbuffered": "wsgi_threads patient; wsgi_request_buffering off;",
    "cancelled": "wsgi_threads patient; wsgi_cancel_on_disconnect on;",
    "timed": "wsgi_threads patient; wsgi_timeout 1s; wsgi_slow_log 500ms;",
}
# What a run may leave out, by the environment variable WITHOUT, and the locations that go with it.
OPTIONS = {"unbuffered": "unbuffered", "cancel": "cancelled", "timeout": "timed"}


class Server(Nginx):
    """`steady` keeps its workers from the beginning to the end; `reloaded` gets HUP every 20 to 30 seconds, and with
    `recycle` it replaces workers in between."""

    def __init__(self, name, folder, threads, without, recycle=False):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "stock.bin").write_bytes(app.STOCK)
        script = pathlib.Path(app.__file__)
        server = ["access_log off;", f"location = /counts {{ wsgi_pass {script}:counts; }}"]
        for location, text in LOCATIONS.items():
            if location not in without:
                server.append(f"location /{location}/ {{ {text} wsgi_pass {script}; }}")
        http = HTTP.format(threads=threads) + ("wsgi_max_requests 2000 jitter=500;" if recycle else "")
        super().__init__(folder, "\n".join(server), http=http, workers=2, connections=2048,
                         main="worker_shutdown_timeout 30s;", level="notice", tls=True, h2c=True,
                         env=ENVIRONMENT)
        self.name = name
        self.hups = 0
        self.known = set()

    def counts(self):
        """{pid: (opened, closed)} of the workers that can be reached."""
        found = {}
        for _ in range(200):
            answer = self.get("/counts")
            pid, opened, closed, _ = map(int, answer.body.split())
            found[pid] = (opened, closed)
            if len(found) == self.workers_wanted:
                break
        return found


class Reloads(threading.Thread):
    """Sends HUP to one server from time to time, and waits until new workers serve."""

    def __init__(self, server, stop, seed, least, most):
        super().__init__(daemon=True)
        self.server, self.stop, self.least, self.most = server, stop, least, most
        self.dice = random.Random(seed)
        self.failures = []

    def run(self):
        while not self.stop.wait(self.dice.uniform(self.least, self.most)):
            begun = time.monotonic()
            try:
                self.server.hup(wait_old=False)
                self.server.hups += 1
            except FileNotFoundError:
                # A worker that was replaced while the harness looked at it.
                self.server.hups += 1
            except Exception as error:
                self.failures.append(f"HUP after {time.monotonic() - begun:.1f} s: {error}"[:500])
