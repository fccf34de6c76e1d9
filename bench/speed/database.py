"""A PostgreSQL for a benchmark, in a folder below /tmp; lives inside `with`. Its CPU time is nobody's here."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from .machine import cpu_of, tree
from .settings import ROOT, Failed

sys.path.insert(1, str(ROOT / "tests"))
from harness import postgres  # noqa: E402


@contextlib.contextmanager
def database(core, setup=""):
    """Gives a Database. It runs on `core`, which is the load generator's, and `setup` is SQL for the beginning."""
    if not postgres.program("postgres"):
        raise Failed("there is no PostgreSQL here: apt-get install postgresql")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="wsgi-bench-"))
    folder.chmod(0o755)
    own = os.sched_getaffinity(0)
    try:
        # Children keep what their parent has.
        os.sched_setaffinity(0, core)
        server = postgres.Postgres(folder, 200)
        os.sched_setaffinity(0, own)
        try:
            if setup:
                psql(server.conninfo, setup)
            yield Database(server)
        finally:
            server.stop()
    finally:
        os.sched_setaffinity(0, own)
        shutil.rmtree(folder, ignore_errors=True)


class Database:
    def __init__(self, server):
        self.conninfo, self.folder, self.pid = server.conninfo, server.folder, server.process.pid

    def cpu(self):
        return cpu_of(tree(self.pid))


def psql(conninfo, text):
    # Not the one in PATH, which is a wrapper in Debian.
    program = pathlib.Path(postgres.program("postgres")).with_name("psql")
    done = subprocess.run([str(program), "-q", "-v", "ON_ERROR_STOP=1", conninfo], input=text,
                          capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"psql: {done.stderr}")
