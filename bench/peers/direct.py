"""Servers that face the visitor themselves."""

import os
import pathlib

from .contender import APPS, Contender
from .proxied import granian_options

START = pathlib.Path(__file__).resolve().parent / "start.py"


class Direct(Contender):
    def __init__(self, place, setup):
        super().__init__(place, setup)
        self.processes = [self.child(*self.command())]

    def command(self):
        """What the environment's Python is started with."""
        raise NotImplementedError


class Granian(Direct):
    name = "granian"
    what = "granian by itself"
    packages = ("granian",)

    def command(self):
        return ["-m", "granian", "--host", "127.0.0.1", "--port", self.port, *granian_options(self.setup)]


class NoServer(Direct):
    """What load generator, kernel and Python leave of the ideal where requests do nothing but wait."""

    name = "no-server"
    what = "a thread for each connection around the application"
    forks = False

    def command(self):
        return [START, self.name, self.setup.app, self.port, self.setup.workers]

    def version(self):
        return self.flavour()


class Bjoern(Direct):
    name = "bjoern"
    what = "bjoern, an event loop in C"
    packages = ("bjoern",)
    threaded = False

    def command(self):
        return [START, self.name, self.setup.app, self.port, self.setup.workers]


class Fastpysgi(Bjoern):
    name = "fastpysgi"
    what = "FastPySGI, an event loop in C, tcp_nodelay on"
    packages = ("fastpysgi",)


class Waitress(Direct):
    name = "waitress"
    what = "waitress with its 4 threads"
    packages = ("waitress",)
    forks = False

    def command(self):
        return ["-m", "waitress", f"--listen=127.0.0.1:{self.port}", f"--threads={self.setup.threads or 4}",
                f"--connection-limit={self.setup.connections}", "--asyncore-use-poll", self.setup.app]


class Modwsgi(Direct):
    name = "modwsgi"
    what = "Apache mod_wsgi express, daemon mode with 5 threads"
    packages = ("mod_wsgi",)

    def command(self):
        module, _, function = self.setup.app.partition(":")
        threads = ["--threads", self.setup.threads] if self.setup.threads else []
        # Apache refuses to serve as root.
        user = ["--user", "www-data", "--group", "www-data"] if os.getuid() == 0 else []
        return ["-c", "from mod_wsgi.express.cli import main; main()", "start-server", "--host", "127.0.0.1", "--port",
                self.port, "--processes", self.setup.workers, *threads, *self.room(),
                *user, "--server-root", self.folder / "httpd", "--log-to-terminal", "--disable-reloading",
                "--limit-request-body", 1 << 27, "--server-backlog", 4096, "--daemon-backlog", 4096,
                "--python-path", APPS, "--application-type", "module", module, "--callable-object", function]

    def room(self):
        """A thread of Apache for every visitor from the beginning; those that come and go cut off connections."""
        return ["--max-clients", max(256, self.setup.visitors * 2), "--initial-workers", "1.0", "--maximum-spare-workers", "1.0"]


class Uvicorn(Direct):
    name = "uvicorn"
    what = "uvicorn with uvloop and httptools, a2wsgi with its 10 threads"
    packages = ("uvicorn", "a2wsgi")

    def command(self):
        return [START, self.name, self.setup.app, self.port, self.setup.workers, self.setup.threads or 10]
