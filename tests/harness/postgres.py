"""A PostgreSQL of a test's own: a cluster in its folder, reached by a UNIX socket, run by an unprivileged user."""

import glob
import os
import pwd
import shutil
import signal
import subprocess

from .nginx import SLOW, _before_exec, wait_for

# It refuses to run as root. These exist wherever it was installed by a package.
USERS = ("postgres", "nobody")


def program(name):
    """The path of a program of PostgreSQL, which distributions keep out of PATH; None where it is not installed."""
    found = shutil.which(name) or max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default=None)
    return found and os.path.realpath(found)


def _user():
    if os.getuid():
        return {}
    for name in USERS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise RuntimeError("there is no user to run PostgreSQL as")


class Postgres:
    """Started when it is made; `conninfo` is for clients. Nothing it writes has to survive, so nothing is synced."""

    def __init__(self, folder, connections=40):
        self.folder = folder / "postgres"
        self.folder.mkdir()
        self.user = _user()
        if self.user:
            os.chown(self.folder, self.user["user"], self.user["group"])
        self.log_path = self.folder / "log"
        self.conninfo = f"host={self.folder} user=tester dbname=postgres"
        self.process = None
        data = self.folder / "data"
        self._run("initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        settings = ("listen_addresses=", "fsync=off", "shared_buffers=16MB", f"max_connections={connections}",
                    "autovacuum=off")
        self.process = self._start("postgres", "-D", data, "-k", self.folder,
                                   *(word for setting in settings for word in ("-c", setting)))
        try:
            wait_for(self.ready, lambda: f"PostgreSQL is ready\n{self.log()}", 30)
        except BaseException:
            self.stop()
            raise

    def _start(self, name, *arguments):
        with open(self.log_path, "ab") as log:
            return subprocess.Popen([program(name), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, cwd=self.folder, preexec_fn=_before_exec, **self.user)

    def _run(self, name, *arguments):
        if self._start(name, *arguments).wait(60 * SLOW):
            raise RuntimeError(f"{name} failed:\n{self.log()}")

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with {self.process.returncode}:\n{self.log()}")
        return "ready to accept connections" in self.log()

    def log(self):
        return self.log_path.read_text(errors="backslashreplace")

    def stop(self):
        """SIGINT: clients are disconnected, and it ends."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
