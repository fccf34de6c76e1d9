"""The settings of a run, from the environment."""

import dataclasses
import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent.parent
ROOT = HERE.parent
OUT = ROOT / "build" / "bench"


class Failed(Exception):
    """The measurement cannot go on; the text says why."""


def setting(*names, default=None):
    """The first of these environment variables that is set."""
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    return default


def number(name, default, low, high):
    try:
        value = float(setting(name, default=default))
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise Failed(f"{name} must be a number from {low} to {high}")
    return value


def server_files():
    """(the nginx binary, the module)"""
    nginx = setting("WSGI_NGINX", "NGINX", default="/usr/sbin/nginx")
    module = setting("WSGI_MODULE", "MODULE", default=str(ROOT / "build" / "debian" / "ngx_http_wsgi_module.so"))
    module = str(pathlib.Path(module).resolve())
    if not os.access(nginx, os.X_OK):
        raise Failed(f"there is no nginx at {nginx}")
    if not os.path.exists(module):
        raise Failed(f"there is no module at {module}: run make first")
    return nginx, module


@dataclasses.dataclass(frozen=True)
class Options:
    """The settings of `make bench`."""

    rounds: int
    seconds: int
    connections: int
    workers: int
    bench: tuple        # names of workloads and scenes; empty: all
    peers: tuple        # names of contenders beside ours; empty: all

    @property
    def everything(self):
        return not self.bench and not self.peers

    @classmethod
    def from_environment(cls):
        return cls(rounds=int(number("ROUNDS", 7, 1, 99)), seconds=int(number("SECONDS_PER_ROUND", 1, 1, 60)),
                   connections=int(number("CONNECTIONS", 16, 1, 512)), workers=int(number("WORKERS", 1, 1, 64)),
                   bench=tuple(setting("BENCH", default="").split()),
                   peers=tuple(setting("PEERS", default="").split()))
