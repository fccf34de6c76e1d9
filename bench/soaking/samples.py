"""Memory, threads and descriptors of all processes of the servers, written to a file while the test runs."""

import collections
import csv
import os
import re
import threading
import time

from harness.nginx import children, title

FIELDS = ["second", "server", "role", "pid", "age", "rss_kib", "threads", "fds", "connections"]
Sample = collections.namedtuple("Sample", FIELDS)


def of_process(pid):
    """(RSS in KiB, threads, descriptors), or None of one that has ended."""
    try:
        with open(f"/proc/{pid}/status") as file:
            text = file.read()
        rss = re.search(r"VmRSS:\s+(\d+)", text)
        # A process that is about to be gone has no memory any more.
        return rss and (int(rss[1]), int(re.search(r"Threads:\s+(\d+)", text)[1]), len(os.listdir(f"/proc/{pid}/fd")))
    except OSError:
        return None


class Samples(threading.Thread):
    """Takes one of each process every `pace` seconds."""

    def __init__(self, servers, stop, path, pace):
        super().__init__(daemon=True)
        self.servers, self.stop, self.path, self.pace = servers, stop, path, pace
        self.begun = time.monotonic()
        self.born = {}
        self.rows = []

    def run(self):
        with open(self.path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(FIELDS)
            while True:
                for row in self.take():
                    self.rows.append(row)
                    writer.writerow(row)
                file.flush()
                if self.stop.wait(self.pace):
                    return

    def take(self):
        now = round(time.monotonic() - self.begun, 1)
        found = []
        for server in self.servers:
            status = server.status()
            connections = status["active"] - 1 if status else ""
            for pid in [server.pid, *children(server.pid)]:
                name = "master" if pid == server.pid else title(pid)
                role = {"master": "master", "nginx: worker process": "worker",
                        "nginx: worker process is shutting down": "old worker"}.get(name)
                seen = of_process(pid) if role else None
                if seen:
                    age = round(now - self.born.setdefault(pid, now), 1)
                    found.append(Sample(now, server.name, role, pid, age, *seen, connections))
        return found
