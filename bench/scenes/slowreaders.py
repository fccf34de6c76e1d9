"""200 visitors read a body of 1 MiB at 50 KB/s each, 10 MB/s together, while another one asks for 13 bytes at a steady
pace. The body is one object that the application has made beforehand, so a server need not copy it.

A row: {"before_kib", "during_kib": PSS of all processes of the server, "served": how many of the 200 got something,
"before", "during": {"p50_ms", "p99_ms", "max_ms", "visits"} of the fast one, or {"stalled": why}}.
"""

import dataclasses
import time

from peers import CONTENDERS, PEERS, Setup
from peers.ours import Module
from speed.settings import OUT

from .turns import one_at_a_time
from .visitors import HELLO, slow_readers, steady

READERS = 200
RATE = 50_000
# Seconds until every server has taken what it will take of the bodies.
FILLS = 2
SETUP = Setup(app="scene:application")


class ModuleBuffered(Module):
    name = "module-buffered"
    what = "nginx mod_wsgi with wsgi_output_buffering on"

    def __init__(self, place, setup):
        super().__init__(place, setup)
        self.server.http += " wsgi_output_buffering on;"


def contenders(bench):
    names = bench.chosen(["module", "module-threads8", "return-200", *(kind.name for kind in PEERS)])
    return [ModuleBuffered, *map(CONTENDERS.get, names)]


def lasts(bench):
    """Seconds: two visits, and what is around them with a server that starts and ends."""
    return len(contenders(bench)) * bench.options.rounds * (2 * bench.options.seconds + FILLS + 2)


def slowreaders(bench):
    """The scene; see above."""
    rows = one_at_a_time(bench, "slowreaders", contenders(bench), bench.options.rounds,
                         lambda kind: measured(kind, bench))
    return {"what": f"{READERS} slow readers, {RATE // 1000} KB/s each, of one prebuilt 1 MiB body beside a fast "
                    "visitor", "rows": rows}


def measured(kind, bench):
    """One round of one server, which is new: what it keeps from the last time would hide what it takes."""
    setup = with_file(SETUP) if kind.name == "return-200" else SETUP
    with kind(bench.place, setup) as server:
        steady(server, "/", HELLO, 0.5)
        row = {"before": steady(server, "/", HELLO, bench.options.seconds), "before_kib": server.pss()}
        with slow_readers(server.port, "/body1m", READERS, RATE) as served:
            time.sleep(FILLS)
            row["during"] = steady(server, "/", HELLO, bench.options.seconds)
            row["during_kib"] = server.pss()
            row["served"] = served()
    return row


def with_file(setup):
    """nginx by itself has the body in a file."""
    file = OUT / "body1m"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"0123456789abcdef" * (1 << 16))
    return dataclasses.replace(setup, locations=f'location = /body1m {{ alias "{file}"; }}')
