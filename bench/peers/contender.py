"""One server in a comparison: made from a Place and a Setup, alive inside `with`."""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil

from speed.environment import BENCH, version_of
from speed.load import ask
from speed.machine import cores
from speed.process import Process, Watched
from speed.server import free_port
from speed.settings import HERE, OUT, server_files

APPS = HERE / "apps"


class Unable(Exception):
    """This server cannot do what the setup asks for; the text says why."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and with what; the same for a whole run."""

    nginx: str
    module: str
    python: pathlib.Path
    server_cores: frozenset
    load_cores: frozenset

    @classmethod
    def here(cls, workers=1):
        """As the environment has it. Makes build/bench-venv if need be."""
        nginx, module = server_files()
        of_server, of_load = cores(workers)
        return cls(nginx, module, BENCH.python, frozenset(of_server), frozenset(of_load))


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is wanted of a server, the same for all that are compared."""

    app: str = "plain:hello"        # module:callable below bench/apps
    threads: int = 0                # 0: what is usual for the server
    workers: int = 1
    env: dict = dataclasses.field(default_factory=dict)     # of the application's processes
    tls: bool = False               # TLS and HTTP/2 by the nginx, for contenders that have one
    unbuffered: bool = False        # an nginx in front passes on every block at once
    locations: str = ""             # more configuration of the nginx, for contenders that have one
    connections: int = 1024         # worker_connections: that many have to fit
    visitors: int = 16              # connections that ask at the same time
    path: str = "/"                 # what answers 200 as soon as the server is ready
    static: pathlib.Path = None     # the file that `static-file` answers with


class Contender(Watched):
    name = ""
    what = ""                       # one line, for the report
    packages = ()                   # what it needs in build/bench-venv
    threaded = True                 # can have as many threads as one likes
    forks = True                    # can have several workers

    def __init__(self, place, setup):
        super().__init__(self.name, free_port())
        self.place, self.setup = place, setup
        self.folder = OUT / "run" / self.name
        if setup.threads and not self.threaded:
            raise Unable("it has no threads")
        if setup.workers > 1 and not self.forks:
            raise Unable("it has one process only")
        for package in self.packages:
            if why := BENCH.why_missing(package):
                raise Unable(f"{package}: {why}")

    def launch(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        super().launch()

    def wait(self):
        self.wait_until(lambda: ask(self.url(self.setup.path))[0] == 200)

    def child(self, *command):
        """A process of this contender with the Python of the environment, which sees the applications."""
        return Process([self.place.python, *command], self.place.server_cores, self.folder / "log",
                       {**clean_environment(), **self.setup.env}, APPS)

    def version(self):
        packages = ", ".join(f"{package} {version_of(package)}" for package in self.packages)
        return f"{packages}; {self.flavour()}"

    def flavour(self):
        """Which Python runs in it: the interpreter itself or the shared library, which differ in speed."""
        for pid in reversed(self.pids()):
            with contextlib.suppress(OSError):
                maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
                if found := re.search(r"/\S*(?:libpython3\S*\.so\S*|bin/python3[.0-9]*)$", maps, re.M):
                    return found.group(0)
        return "no Python"


def clean_environment():
    """Without what would change Python or nginx, and with the applications on the path."""
    env = {key: value for key, value in os.environ.items()
           if key not in ("NGINX", "VIRTUAL_ENV") and not key.startswith(("PYTHON", "GUNICORN", "GRANIAN", "UWSGI"))}
    return {**env, "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(OUT)}
