"""Changing the file of an application as editors do it, and load that watches which edit it sees.

The applications answer `NUMBER PID`, where NUMBER is the edit that they were imported from.
"""

import os

from .load import Load
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


class Watcher(Load):
    """Every answer must be no older than the edit that was `oldest()` when it was asked for."""

    def __init__(self, server, stop, keep_alive, oldest, target="/"):
        super().__init__(server, stop, keep_alive, target)
        self.begin = oldest
        self.seen = set()
        self.pids = set()

    def check(self, answer, begun):
        number, pid = map(int, answer.text.split())
        assert number >= begun, f"edit {number} answered after edit {begun} was seen"
        self.seen.add(number)
        self.pids.add(pid)
