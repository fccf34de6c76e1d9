#!/usr/bin/env python3
"""Asks a module that counts what it does (tools/pgo.sh) for what sites ask most, so that the compiler learns from it.

    WSGI_MODULE=/path/of/the/counting/module bench/train.py

The workloads are those of the benchmarks (speed/workloads.py), two seconds each, by the event loop and in threads.
"""

import os
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path[:1] = [str(Path(__file__).resolve().parent)]
import peers  # noqa: E402
from speed.load import ask  # noqa: E402
from speed.settings import Failed  # noqa: E402
from speed.workloads import WORKLOADS  # noqa: E402

NAMES = ("hello", "hello20", "json", "body64k", "stream", "post1k", "file10m", "tls")


def main():
    place = peers.Place.here()
    os.sched_setaffinity(0, place.load_cores)
    for workload in map(WORKLOADS.get, NAMES):
        env = {"BENCH_FILE": str(workload.static())} if workload.file else {}
        setup = peers.Setup(app=workload.app, env=env, tls=workload.tls, path=workload.path)
        with peers.together(("module", "module-threads8"), place, setup) as (servers, missing):
            if missing:
                raise Failed(f"{workload.name}: {missing}")
            for server in servers.values():
                url = server.url(workload.path)
                status, body = ask(url, workload.body(), workload.headers)
                if status != 200 or not body:
                    raise Failed(f"{workload.name}: {status}\n{server.log_text()}")
                workload.load(url, 16, 2)
        print(f"  {workload.name}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"train: {failed}")
