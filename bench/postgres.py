#!/usr/bin/env python3
"""A view that awaits one query of PostgreSQL, one worker: the module beside granian and uvicorn.

    bench/postgres.py                                       # about two minutes; psycopg 3 in all of them
    bench/postgres.py psycopg asyncpg                       # and with the other driver
    ROUNDS=11 CONNECTIONS=64 bench/postgres.py

The module calls a WSGI application that answers by ngx_wsgi.asyncio.respond(); granian and uvicorn (with uvloop and
httptools) call an ASGI application. The coroutine with the query, the driver, and the pool of 20 connections are the
same (bench/postgres_app.py), and so is the environment, build/bench-venv. All run at the same time and are asked in
turns. What counts is CPU time: utime and stime of all processes of a server, not those of PostgreSQL, which shares the
other core with the load generator. bench/README.md has the settings.
"""

import contextlib
import datetime
import json
import os
import statistics
import sys

# No cache folder among the sources.
sys.dont_write_bytecode = True
sys.path[:1] = [os.path.dirname(os.path.abspath(__file__))]
from postgres_app import POOL, SETUP  # noqa: E402
from speed.database import database  # noqa: E402
from speed.environment import python_with, version_of  # noqa: E402
from speed.load import WRK, fetch, load_by_wrk, need  # noqa: E402
from speed.machine import cores, cpu_model  # noqa: E402
from speed.process import Process, Watched  # noqa: E402
from speed.rounds import measured, middle, noisy, ratios, rounds_of, shown, spread, used  # noqa: E402
from speed.server import Server, free_port  # noqa: E402
from speed.settings import HERE, OUT, Failed, number, server_files, setting  # noqa: E402

DRIVERS = ("psycopg", "asyncpg")
LOCATIONS = """\
        location = /hello {
            return 200 "Hello, World!";
        }
        location = /item {
            wsgi_pass "@HERE@/postgres_app.py:wsgi";
        }
"""
# What is called one worker there; access logs are off.
COMMANDS = {
    "granian": ["-m", "granian", "--interface", "asgi", "--workers", "1", "--no-ws", "--log-level", "warning", "--port",
                "{port}", "postgres_app:asgi"],
    "uvicorn": ["-m", "uvicorn", "--workers", "1", "--loop", "uvloop", "--http", "httptools", "--ws", "none",
                "--no-access-log", "--log-level", "warning", "--port", "{port}", "postgres_app:asgi"],
}
# How much of the better one's CPU time the module may take.
BOUND = 1.0


class Peer(Watched):
    """Another server, on the core of the servers; lives inside `with`."""

    def __init__(self, name, python, cores, env):
        super().__init__(name, free_port())
        command = [python, *(word.format(port=self.port) for word in COMMANDS[name])]
        self.processes = [Process(command, cores, OUT / "run" / f"{name}.log",
                                  {**os.environ, **env, "PYTHONDONTWRITEBYTECODE": "1"}, HERE)]

    def wait(self):
        self.wait_until(lambda: fetch(self.port, "/item")[0] == 200)


def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    drivers = sys.argv[1:] or setting("DRIVERS", default="psycopg").split()
    if unknown := [name for name in drivers if name not in DRIVERS]:
        raise Failed(f"drivers are {' and '.join(DRIVERS)}, not {' '.join(unknown)}")
    nginx, module = server_files()
    rounds = int(number("ROUNDS", 7, 1, 99))
    seconds = number("SECONDS_PER_ROUND", 2, 1, 60)
    connections = int(number("CONNECTIONS", 16, 1, 512))
    need(WRK)
    python = python_with("granian", "uvicorn", "psycopg", "asyncpg")
    server_core, load_core = cores()
    os.sched_setaffinity(0, load_core)
    OUT.mkdir(parents=True, exist_ok=True)
    broken = []
    for driver in drivers:
        print(f"{driver}: {rounds} rounds", file=sys.stderr, flush=True)
        with database(load_core, SETUP) as server, contextlib.ExitStack() as stack:
            env = {"CONNINFO": server.conninfo, "DRIVER": driver}
            http = f'wsgi_python_executable "{python}"; wsgi_python_path "{HERE}";' + "".join(
                f' wsgi_env {name} "{value}";' for name, value in env.items())
            servers = {"module": stack.enter_context(
                Server(nginx, module, server_core, LOCATIONS, "/hello", http=http))}
            for name in COMMANDS:
                servers[name] = stack.enter_context(Peer(name, python, server_core, env))
            result = run(servers, driver, connections, rounds, seconds)
            versions = servers["module"].version()
        result["machine"] = {"versions": versions, "cpu": cpu_model(), "load_generator": "wrk",
                             "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds")}
        (OUT / f"postgres-{driver}.json").write_text(json.dumps(result, indent=1) + "\n")
        print("\n".join(result["table"]))
        print(f"\n{driver}: ratio {result['ratio']['median']:.3f} to {result['best']} (bound {BOUND})")
        print(f"{versions}; {cpu_model()}; {rounds} rounds, {result['noisy']} of them disturbed; "
              f"{'servers and load on different cores' if server_core != load_core else 'one core for all'}\n",
              flush=True)
        if result["ratio"]["median"] > BOUND:
            broken.append(driver)
    if setting("CHECK", default="0") != "0" and broken:
        print(f"outside of its bound: {', '.join(broken)}", file=sys.stderr)
        return 1
    return 0


def run(servers, driver, connections, rounds, seconds):
    def ask(name, seconds):
        return load_by_wrk(servers[name].url("/item"), connections, seconds)

    def per_request(cell):
        return used(cell) / cell["requests"] * 1e6

    for name in servers:
        status, body = fetch(servers[name].port, "/item")
        if status != 200 or not body.startswith(b'{"name": "item '):
            raise Failed(f"{name} answers {status} {body[:100]!r}")
        # Long enough for all connections of the pool, and for their statements to be prepared.
        ask(name, 2)
    results = rounds_of(list(servers), rounds, lambda name: measured(servers[name], lambda: ask(name, seconds)))
    peers = [name for name in servers if name != "module"]
    best = min(peers, key=lambda name: statistics.median(map(per_request, results[name])))
    ratio = ratios(results, "module", best, per_request)
    table = [f"| {driver}, pool of {POOL}, {connections} connections | CPU µs/request | min–max | × {best} | min–max | "
             "requests/s | p50 µs | p99 µs |", "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, cells in results.items():
        title = name if name == "module" else f"{name} {version_of(name)}"
        speed = statistics.median(cell["requests"] / cell["seconds"] for cell in cells)
        table.append(f"| {title} | {shown([per_request(cell) for cell in cells], 1)} | "
                     f"{shown(ratios(results, name, best, per_request), 3)} | {speed:,.0f} | "
                     f"{middle(cells, 'p50_us')} | {middle(cells, 'p99_us')} |")
    return {"table": table, "results": results, "ratio": spread(ratio), "best": best, "rounds": rounds,
            "connections": connections, "noisy": noisy(results)}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"bench: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
