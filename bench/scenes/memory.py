"""PSS of all processes of a server, in KiB: what is shared with others counts in proportion. One server runs at a time.

Rows of a contender: {"idle_kib": after some requests, "after_kib": after a load with 64 connections}; of the module
also {"workers_kib": {number of workers: with 64 connections for each, kept alive}}; of the module and of nginx by
itself {"before_kib", "kept_kib": without connections, and with 10,000 that have been answered once and are kept alive},
both without what is mapped from files, which other programs share or not. Memory varies little, so that three rounds
are enough.
"""

import time

from peers import CONTENDERS, PEERS, Setup
from peers.ours import Return200
from speed.crowd import Crowd
from speed.load import load_by_wrk
from speed.machine import pss_of

from .turns import one_at_a_time
from .visitors import HELLO, steady

APP = "hello:application"
OURS = ("return-200", "module", "module-threads8", "module-threads64")
KEPT = 10_000
KEEPERS = ("return-200", "module", "module-threads8")
WORKERS = (1, 3)
CONNECTIONS = 64
ROUNDS = 2
# The module gives memory back some seconds after a request, and others may do so, too.
SETTLES = 7


class Alone(Return200):
    """What the memory of the others is compared with."""

    has_module = False


def contenders(bench):
    return [Alone if name == Alone.name else CONTENDERS[name]
            for name in bench.chosen([*OURS, *(kind.name for kind in PEERS)])]


def rounds(bench):
    return min(bench.options.rounds, ROUNDS)


def lasts(bench):
    """Seconds: twice for each server until it has settled, and once for each further question."""
    more = len(WORKERS) + 2 * len(KEEPERS)
    return rounds(bench) * (len(contenders(bench)) * (2 * SETTLES + 4) + more * (SETTLES + 2))


def memory(bench):
    """The scene; see above."""
    rows = one_at_a_time(bench, "memory", contenders(bench), rounds(bench), lambda kind: of_one(kind, bench.place))
    return {"what": f"PSS idle, after a load, of each worker, and of {KEPT:,} connections that are kept alive",
            "rows": rows}


def of_one(kind, place):
    row = idle_and_after(kind, place)
    if kind.name == "module":
        row["workers_kib"] = {str(workers): with_workers(kind, place, workers) for workers in WORKERS}
    if kind.name in KEEPERS:
        row.update(kept_alive(kind, place))
    return row


def idle_and_after(kind, place):
    with kind(place, Setup(app=APP)) as server:
        steady(server, "/", HELLO, 0.2)
        time.sleep(SETTLES)
        idle = server.pss()
        load_by_wrk(server.url("/"), CONNECTIONS, 2)
        time.sleep(SETTLES)
        return {"idle_kib": idle, "after_kib": server.pss()}


def with_workers(kind, place, workers):
    with kind(place, Setup(app=APP, workers=workers)) as server, Crowd(server.port, CONNECTIONS * workers) as crowd:
        # All at once and more than once, so that every worker has its part.
        for _ in range(3):
            crowd.ask("/")
            crowd.answers(HELLO, 30)
        time.sleep(SETTLES)
        return server.pss()


def kept_alive(kind, place):
    with kind(place, Setup(app=APP, connections=KEPT + 1000)) as server:
        steady(server, "/", HELLO, 0.2)
        time.sleep(SETTLES)
        before = pss_of(server.pids(), "Pss_Anon")
        with Crowd(server.port, KEPT) as crowd:
            crowd.ask_in_turn("/", HELLO)
            time.sleep(SETTLES)
            return {"before_kib": before, "kept_kib": pss_of(server.pids(), "Pss_Anon")}
