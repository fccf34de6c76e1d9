"""A PostgreSQL of the tests' own: a cluster in a folder, reached by a UNIX socket, run by an unprivileged user.

`Postgres(folder)` is a whole cluster for one test, which may stop it. The fixture `database` is cheaper: a database of
the test's own in a cluster that all tests of a run share. Tests look into it with `execute` and `connect`.
"""

import contextlib
import glob
import itertools
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

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

    def __init__(self, folder, connections=100):
        self.folder = folder / "postgres"
        self.folder.mkdir()
        self.user = _user()
        if self.user:
            os.chown(self.folder, self.user["user"], self.user["group"])
        self.log_path = self.folder / "log"
        self.conninfo = f"host={self.folder} user=tester dbname=postgres"
        self.connections = connections
        self.process = None
        self._run("initdb", "-D", self.data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    @property
    def data(self):
        return self.folder / "data"

    def start(self):
        """Begins to serve, also again after `stop`; returns when it accepts connections."""
        settings = ("listen_addresses=", "fsync=off", "shared_buffers=16MB", f"max_connections={self.connections}",
                    "autovacuum=off")
        self.seen = len(self.log())
        self.process = self._start("postgres", "-D", self.data, "-k", self.folder,
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
        return "ready to accept connections" in self.log()[self.seen:]

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


class Database:
    """One database of a cluster. What a test asks goes over connections of its own, closed by `close`."""

    def __init__(self, postgres, name="postgres"):
        self.postgres, self.name = postgres, name
        self.conninfo = f"host={postgres.folder} user=tester dbname={name}"
        self.connections = []

    def connect(self):
        """A connection of psycopg's that commits each statement."""
        import psycopg  # of tests/requirements.txt; the tests that need no database do without
        self.connections.append(psycopg.connect(self.conninfo, autocommit=True))
        return self.connections[-1]

    def execute(self, statement, *values):
        """The rows of a statement, on a connection of its own."""
        import psycopg
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def running(self, words):
        """The backends that are busy with a statement in which `words` are."""
        return [pid for pid, in self.execute(
            "select pid from pg_stat_activity where datname = current_database() and state = 'active'"
            " and query like %s and pid <> pg_backend_pid() and backend_type = 'client backend'", f"%{words}%")]

    def backends(self):
        """The backends of the clients of this database, without the one that asks."""
        return [pid for pid, in self.execute("select pid from pg_stat_activity where datname = current_database()"
                                             " and pid <> pg_backend_pid() and backend_type = 'client backend'")]

    def wait_running(self, words, count=1, timeout=10):
        """Waits until exactly `count` backends are busy with such a statement; which they are."""
        found = []

        def so():
            found[:] = self.running(words)
            return len(found) == count
        wait_for(so, lambda: f"{count} statement(s) like {words!r} running: {found}", timeout)
        return list(found)

    def close(self):
        for connection in self.connections:
            connection.close()


_names = itertools.count(1)


@contextlib.contextmanager
def new_database(postgres):
    """A database that is dropped in the end, whoever still uses it."""
    name = f"test{next(_names)}"
    Database(postgres).execute(f"create database {name}")
    database = Database(postgres, name)
    try:
        yield database
    finally:
        database.close()
        Database(postgres).execute(f"drop database {name} with (force)")


@contextlib.contextmanager
def cluster():
    """A cluster in a folder of its own, removed in the end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="wsgi-"))
    folder.chmod(0o755)
    server = None
    try:
        server = Postgres(folder)
        yield server
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
