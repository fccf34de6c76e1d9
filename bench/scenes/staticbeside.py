"""A visitor asks for a static file of nginx at a steady pace, alone and beside 64 connections to an application that
sleeps for 10 ms in 64 threads; the same with other servers behind nginx, whose threads are in another process. All of
them share one core.

A row: {"alone", "during": {"p50_ms", "p99_ms", "max_ms", "visits"}, "rps": answers of the application a second}.
"""

import concurrent.futures
import time

from peers import Setup, together
from speed.load import load_by_wrk
from speed.rounds import in_turn
from speed.settings import OUT, Failed

from .visitors import HELLO, steady

THREADS = 64
# Those with an nginx, which is what serves the file.
BESIDE = ("uwsgi", "gunicorn-gthread", "granian-nginx")


def lasts(bench):
    """Seconds: a visit alone, and a load that is longer than the visit beside it."""
    return len(bench.chosen(["module-threads64", *BESIDE])) * bench.options.rounds * (2 * bench.options.seconds + 1.2)


def staticbeside(bench):
    """The scene; see above."""
    file = OUT / "hello.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(HELLO)
    setup = Setup(app="plain:sleep", threads=THREADS, locations=f'location = /file {{ alias "{file}"; }}')
    names = bench.chosen(["module-threads64", *BESIDE])
    with together(names, bench.place, setup) as (servers, missing):
        for name, why in missing.items():
            bench.missing("staticbeside", name, why)
        rows = {name: [] for name in servers}
        for turn in range(bench.options.rounds):
            bench.say(f"  round {turn + 1} of {bench.options.rounds}")
            for name in in_turn(list(servers), turn):
                rows[name].append(measured(servers[name], bench.options.seconds))
    return {"what": f"a static file beside {THREADS} connections to an application that sleeps for 10 ms", "rows": rows}


def measured(server, seconds):
    alone = steady(server, "/file", HELLO, seconds)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        load = pool.submit(load_by_wrk, server.url("/"), THREADS, seconds + 1)
        # He comes when all threads are busy, and leaves while they still are.
        time.sleep(0.5)
        during = steady(server, "/file", HELLO, seconds)
        load = load.result()
    if load["failed"]:
        raise Failed(f"{server.name}: some requests failed: {server.log_text()[-2000:]}")
    return {"alone": alone, "during": during, "rps": load["requests"] / load["seconds"]}
