"""Changing the file of an application as editors do it, and load that watches which edit it sees.

The applications answer `NUMBER PID`, where NUMBER is the edit that they were imported from.
"""

import os
import threading

from .http import Connection, Truncated
from .nginx import wait_for


def edit(path, text):
    """Writes a file in place, and again until its time has moved: the clock of a file system ticks a few times a
    hundredth of a second."""
    def stamp():
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    before = stamp() if path.exists() else None

    def changed():
        path.write_text(text)
        return stamp() != before
    wait_for(changed, "the time of a file goes on", step=0.001)


def replace(path, text):
    """Writes a new file and renames it: nobody ever sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


class Watcher(threading.Thread):
    """Asks without a pause. Every answer must be 200 and no older than the edit that was `oldest()` when it was asked
    for. What went wrong is in `failures`.

    A request on a connection that was used before, of which no byte was answered, may be sent again
    (RFC 9112 9.3.1 and 9.5).
    """

    def __init__(self, server, stop, keep_alive, oldest, target="/"):
        super().__init__(daemon=True)
        self.server, self.stop, self.keep_alive, self.oldest, self.target = server, stop, keep_alive, oldest, target
        self.done = 0
        self.failures = []
        self.seen = set()
        self.pids = set()

    def run(self):
        connection = None
        while not self.stop.is_set():
            try:
                reused = connection is not None
                if connection is None:
                    connection = Connection(("127.0.0.1", self.server.port), timeout=20)
                answer = self.ask(connection, reused)
                if answer is None or not self.keep_alive or answer.header("Connection") == "close":
                    connection.close()
                    connection = None
            except Exception as error:
                self.failures.append(f"{self.target} keep-alive={self.keep_alive}: {type(error).__name__}: {error}")
                if connection:
                    connection.close()
                connection = None
        if connection:
            connection.close()

    def ask(self, connection, reused):
        oldest = self.oldest()
        headers = [] if self.keep_alive else [("Connection", "close")]
        try:
            answer = connection.request("GET", self.target, headers)
        except (Truncated, ConnectionError) as error:
            if reused and not connection.buffer and getattr(error, "response", None) is None:
                return None
            raise
        assert answer.status == 200, answer
        number, pid = map(int, answer.text.split())
        assert number >= oldest, f"edit {number} answered after edit {oldest} was seen"
        self.seen.add(number)
        self.pids.add(pid)
        self.done += 1
        return answer
