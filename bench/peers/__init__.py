"""The servers that are compared: how each is started, and what it can do.

    contender.py    Place and Setup: where and as what; Contender: one server inside `with`
    ours.py         the module, and nginx by itself
    proxied.py      servers behind nginx, by a socket of their own
    direct.py       servers that face the visitor
    start.py        what servers without a command line are started by

Every one runs with the settings its documentation recommends for speed, without an access log, with the same number
of workers, in the same environment (build/bench-venv) and with the same application (bench/apps).
"""

import contextlib

from speed.settings import Failed

from .contender import Contender, Place, Setup, Unable
from .direct import Bjoern, Fastpysgi, Granian, Modwsgi, NoServer, Uvicorn, Waitress
from .ours import Module, ModuleFast, ModuleThreads1, ModuleThreads8, ModuleThreads64, Return200, StaticFile
from .proxied import GranianNginx, GunicornGthread, GunicornSync, Uwsgi

OURS = (Module, ModuleThreads1, ModuleThreads8, ModuleThreads64, ModuleFast, Return200, StaticFile)
PEERS = (Uwsgi, GunicornSync, GunicornGthread, GranianNginx, Granian, Bjoern, Fastpysgi, Waitress, Modwsgi, Uvicorn)
CONTENDERS = {contender.name: contender for contender in (*OURS, NoServer, *PEERS)}

__all__ = ["CONTENDERS", "OURS", "PEERS", "Contender", "Place", "Setup", "Unable", "together"]


@contextlib.contextmanager
def together(contenders, place, setup):
    """Starts all of them (names or classes) at the same time: ({name: server}, {name: why it is not among them})."""
    servers, missing = {}, {}
    with contextlib.ExitStack() as stack:
        for kind in (CONTENDERS.get(kind, kind) for kind in contenders):
            try:
                server = kind(place, setup)
                stack.callback(server.stop)
                server.launch()
                servers[kind.name] = server
            except (Unable, Failed, OSError) as why:
                missing[kind.name] = str(why)
        for name, server in list(servers.items()):
            try:
                server.wait()
            except Failed as why:
                missing[name] = str(why)
                servers.pop(name).stop()
        try:
            yield servers, missing
        finally:
            # All at once, before one is waited for after the other.
            for server in servers.values():
                server.terminate()
