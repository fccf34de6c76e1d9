#!/usr/bin/env python3
"""5,000 requests that wait in one worker: what each of them takes, and what a static file of that worker feels of it.

    bench/waiting.py                                        # about three minutes
    bench/waiting.py timer                                  # or descriptor, database
    WAITING=1000 ROUNDS=2 bench/waiting.py

They wait for a timer, for an eventfd of their own (Python 3.10), or for PostgreSQL through a pool of 20 connections
(psycopg 3). In each round: all ask at once and all answers are read (`at once`); all wait and nobody comes or goes,
while a visitor asks for a small file 500 times a second (`held`); and they come and go, so that 5,000 wait at any time,
beside the same visitor (`coming and going`), which is compared with as many answers of nginx itself. bench/README.md
has the settings.
"""

import concurrent.futures
import datetime
import json
import os
import resource
import statistics
import sys
import time

# No cache folder among the sources.
sys.dont_write_bytecode = True
sys.path[:1] = [os.path.dirname(os.path.abspath(__file__))]
from speed.crowd import Crowd  # noqa: E402
from speed.database import database  # noqa: E402
from speed.environment import python_with  # noqa: E402
from speed.load import WRK, Visitor, fetch, need, spread_by_wrk  # noqa: E402
from speed.machine import cores, cpu_model  # noqa: E402
from speed.rounds import measured, noisy, rounds_of, shown, used  # noqa: E402
from speed.server import Server  # noqa: E402
from speed.settings import HERE, OUT, Failed, number, server_files, setting  # noqa: E402

# How long a request of each kind waits, in milliseconds, and what it asks for, so that it takes as long. 20 connections
# with queries of 10 ms make at most 2,000 a second, so 5,000 requests wait for 2.5 seconds each.
KINDS = {"timer": (1000, "1000"), "descriptor": (1000, "1000"), "database": (2500, "10")}
BODY = b"Hello, World!"
# One visit each 2 ms tells enough and is no load.
PACE = 0.002
# How much later than beside nginx's own answers the file may come, in microseconds.
LATER = 1000

LOCATIONS = """\
        location = /hello {
            return 200 "Hello, World!";
        }
        location = /file {
            alias "@HERE@/wrk.lua";
        }
        location = /count {
            wsgi_pass "@HERE@/waiting_app.py:count";
        }
        location = /timer {
            wsgi_pass "@HERE@/waiting_app.py:timer";
        }
        location = /descriptor {
            wsgi_pass "@HERE@/waiting_app.py:descriptor";
        }
        location = /database {
            wsgi_pass "@HERE@/waiting_app.py:database";
        }
"""


def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    wanted = sys.argv[1:] or list(KINDS)
    if unknown := [name for name in wanted if name not in KINDS]:
        raise Failed(f"{', '.join(KINDS)} can be measured, not {' '.join(unknown)}")
    nginx, module = server_files()
    count = int(number("WAITING", 5000, 10, 20000))
    rounds = int(number("ROUNDS", 3, 1, 99))
    seconds = number("SECONDS_PER_ROUND", 2, 1, 60)
    collector = int(number("COLLECTOR", 0, 0, 1))
    need(WRK)
    python = python_with("psycopg")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    server_core, load_core = cores()
    os.sched_setaffinity(0, load_core)
    OUT.mkdir(parents=True, exist_ok=True)
    broken = []
    with database(load_core) as postgres:
        for kind in wanted:
            print(f"{kind}: {rounds} rounds", file=sys.stderr, flush=True)
            http = f'''wsgi_python_executable "{python}"; wsgi_env CONNINFO "{postgres.conninfo}";
    wsgi_suspend_timeout 10m; wsgi_block_warning 2s; wsgi_python_path "{HERE}"; wsgi_env COLLECTOR {collector};'''
            with Server(nginx, module, server_core, LOCATIONS, "/hello", 4 * count + 1000, http) as server:
                result = Bench(server, kind, count, seconds).run(rounds)
                versions = server.version()
            (OUT / f"waiting-{kind}.json").write_text(json.dumps(
                {**result, "waiting": count, "cpu": cpu_model(), "versions": versions,
                 "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds")}, indent=1) + "\n")
            print("\n".join(result["table"]))
            print(f"\n{kind}: the static file's p99 {result['later_us']:+,.0f} µs (bound {LATER:+,} µs)")
            print(f"{versions}; {cpu_model()}; {rounds} rounds, {result['noisy']} of them disturbed; "
                  f"{'server and load on different cores' if server_core != load_core else 'one core for both'}\n",
                  flush=True)
            if result["later_us"] > LATER:
                broken.append(kind)
    if setting("CHECK", default="0") != "0" and broken:
        print(f"outside of its bound: {', '.join(broken)}", file=sys.stderr)
        return 1
    return 0


class Bench:
    """One kind of waiting, with a server of its own."""

    def __init__(self, server, kind, count, seconds):
        self.server, self.kind, self.count, self.seconds = server, kind, count, seconds
        self.wait, self.asked = KINDS[kind]
        self.path = f"/{kind}?{self.asked}"
        self.file = (HERE / "wrk.lua").read_bytes()
        self.memory = []

    def run(self, rounds):
        self.server.expect(self.path, BODY)
        self.server.expect("/file", self.file)
        works = {"alone": self.alone, "held": self.held, "at once": self.at_once, "nginx": self.nginx,
                 "coming and going": self.coming_and_going}
        results = rounds_of(list(works), rounds, lambda name: measured(self.server, works[name]))
        later = statistics.median(there["file_p99_us"] - here["file_p99_us"]
                                  for there, here in zip(results["coming and going"], results["nginx"]))
        return {"table": self.table(results), "results": results, "memory": self.memory, "later_us": later,
                "noisy": noisy({name: cells for name, cells in results.items()})}

    # What a round does.

    def alone(self):
        return self.visit()

    def visit(self):
        visitor = Visitor(self.server.port, "/file", self.file, PACE, self.seconds)
        visitor.start()
        return {f"file_{key}": value for key, value in visitor.result().items()}

    def held(self):
        before = self.rss()
        with Crowd(self.server.port, self.count) as crowd:
            connected = self.settled()
            crowd.ask(f"/{self.kind}?120000")
            self.wait_for_count(self.count)
            waiting = self.rss()
            result = self.visit()
        self.wait_for_count(0)
        self.memory.append({"before": before, "connected": connected, "waiting": waiting})
        return result

    def at_once(self):
        with Crowd(self.server.port, self.count) as crowd:
            begun = time.monotonic()
            crowd.ask(self.path)
            asked = time.monotonic() - begun
            found = crowd.answers(BODY, 120)
        return {"requests": found["right"], "asked": asked, "answered": asked + found["last"]}

    def nginx(self):
        return self.beside("/hello", self.wait)

    def coming_and_going(self):
        return self.beside(self.path, 0)

    def beside(self, path, rest):
        begin = 2 * self.wait / 1000
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            load = pool.submit(spread_by_wrk, self.server.url(path), self.count, self.seconds + begin + 1, self.wait,
                               rest)
            time.sleep(begin)
            result = self.visit()
            result.update(load.result())
        # wrk counts from the beginning, when nobody had been answered yet.
        result["seconds"] -= 0 if rest else self.wait / 1000
        return result

    # What the worker says.

    def rss(self):
        """KiB of the worker."""
        worker = self.server.pids()[-1]
        with open(f"/proc/{worker}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def settled(self):
        """When it has accepted everybody."""
        fetch(self.server.port, "/hello")
        time.sleep(0.2)
        return self.rss()

    def wait_for_count(self, wanted):
        deadline = time.monotonic() + 60
        while int(fetch(self.server.port, "/count")[1]) != wanted:
            if time.monotonic() > deadline:
                raise Failed(f"{fetch(self.server.port, '/count')[1].decode()} wait, not {wanted}")
            time.sleep(0.05)

    # What is printed.

    def table(self, results):
        first = self.memory[0]
        each = (first["waiting"] - first["connected"]) / self.count
        conn = (first["connected"] - first["before"]) / self.count
        cost = [used(cell) / cell["requests"] * 1e6 for cell in results["at once"]]
        most = max(memory["waiting"] for memory in self.memory)
        lines = [f"| {self.kind}: {self.count:,} requests at once | answered | all after s | min–max | CPU µs/request | "
                 "min–max | KiB of each | of its connection | worker MiB |",
                 "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
                 f"| the module, one worker | {min(cell['requests'] for cell in results['at once']):,} | "
                 f"{shown([cell['answered'] for cell in results['at once']], 2)} | {shown(cost, 1)} | {each:.2f} | "
                 f"{conn:.2f} | {most / 1024:.0f} |",
                 "", "| static file | p50 µs | p99 µs | min–max | longest ms | other requests/s | p50 ms | p99 ms |",
                 "|---|---:|---:|---:|---:|---:|---:|---:|"]
        for name, title in (("alone", "alone"), ("held", f"beside {self.count:,} that wait"),
                            ("nginx", "beside `return 200`"), ("coming and going", "beside those that come and go")):
            lines.append(row(title, results[name]))
        return lines


def row(title, cells):
    def middle(key, divisor=1):
        return statistics.median(cell[key] / divisor for cell in cells)

    text = (f"| {title} | {middle('file_p50_us'):,.0f} | {shown([cell['file_p99_us'] for cell in cells], 0)} | "
            f"{max(cell['file_max_us'] for cell in cells) / 1000:.1f} | ")
    if "requests" not in cells[0]:
        return text + "– | – | – |"
    speed = statistics.median(cell["requests"] / cell["seconds"] for cell in cells)
    return text + f"{speed:,.0f} | {middle('p50_us', 1000):,.1f} | {middle('p99_us', 1000):,.1f} |"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"bench: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
