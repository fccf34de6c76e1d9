#!/usr/bin/env python3
"""What `wsgi_admission` is good for: how long visitors wait where one request in twenty takes a second.

    bench/admission.py                                      # 30 seconds for each, two rounds
    SECONDS_PER_ROUND=60 ROUNDS=3 bench/admission.py

nginx has 4 workers with 2 threads each. 6 visitors ask at a time, each time on a new connection: 19 of 20 requests take
2 ms, one takes a second. So there is a thread for everybody, in one of the workers. "Waiting" is what is left of a
request's time without the 2 ms or the second. build/bench/admission.json has the figures.

Settings: SECONDS_PER_ROUND, ROUNDS, SEED (1), WSGI_NGINX, WSGI_MODULE.
"""

import json
import os
import pathlib
import random
import shutil
import sys
import threading
import time

BENCH = pathlib.Path(__file__).resolve().parent
# No cache folder among the sources.
sys.dont_write_bytecode = True
sys.path[:1] = [str(BENCH), str(BENCH.parent / "tests")]
from harness.http import Connection  # noqa: E402
from harness.nginx import Nginx, wait_for  # noqa: E402
from speed.machine import cpu_model  # noqa: E402
from speed.settings import OUT, Failed, number  # noqa: E402

WORKERS, THREADS, VISITORS = 4, 2, 6
FAST, SLOW, ONE_IN = 0.002, 1.0, 20
APP = """
import os
import time


def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]))
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class Visitor(threading.Thread):
    """Asks, and asks again; `times` has (what the application takes, what it took the visitor)."""

    def __init__(self, port, seed, until):
        super().__init__(daemon=True)
        self.port, self.dice, self.until = port, random.Random(seed), until
        self.times = []

    def run(self):
        while time.monotonic() < self.until:
            work = SLOW if self.dice.randrange(ONE_IN) == 0 else FAST
            begun = time.monotonic()
            with Connection(("127.0.0.1", self.port), timeout=60) as connection:
                answer = connection.request("GET", f"/?{work}", [("Connection", "close")])
            if answer.status != 200:
                raise Failed(f"status {answer.status}")
            self.times.append((work, time.monotonic() - begun))


def server(flag):
    folder = OUT / "admission"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(APP)
    made = Nginx(folder, f"access_log off; wsgi_threads {THREADS}; location / {{ wsgi_pass app.py; }}",
                 http=f"wsgi_admission {flag};", workers=WORKERS, level="notice")
    made.start()
    # All workers have imported the application.
    seen = set()
    wait_for(lambda: seen.add(made.get("/?0").text) or len(seen) == WORKERS, "all workers answer", 60)
    return made


def measure(flag, seconds, seed):
    made = server(flag)
    try:
        until = time.monotonic() + seconds
        visitors = [Visitor(made.port, seed * VISITORS + each, until) for each in range(VISITORS)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join(seconds + 60)
        made.stop()
    finally:
        made.kill()
    return [pair for visitor in visitors for pair in visitor.times]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def summary(times):
    fast = [took for work, took in times if work == FAST]
    waiting = [took - work for work, took in times]
    return {
        "requests": len(times),
        "fast p50": percentile(fast, 0.5) * 1000, "fast p95": percentile(fast, 0.95) * 1000,
        "fast p99": percentile(fast, 0.99) * 1000,
        "all p99": percentile([took for _, took in times], 0.99) * 1000,
        "waiting p99": percentile(waiting, 0.99) * 1000,
        "waited over 100 ms": sum(wait > 0.1 for wait in waiting) / len(waiting) * 100,
    }


def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    seconds, rounds = number("SECONDS_PER_ROUND", 30, 1, 600), int(number("ROUNDS", 2, 1, 20))
    seed = int(number("SEED", 1, 0, 1 << 31))
    times = {"off": [], "on": []}
    for each in range(rounds):
        for flag, found in times.items():
            print(f"wsgi_admission {flag}: {seconds:g} s", file=sys.stderr, flush=True)
            found += measure(flag, seconds, seed + each)
    result = {flag: summary(found) for flag, found in times.items()}
    print(f"{WORKERS} workers with {THREADS} threads, {VISITORS} visitors; {cpu_model()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}")
    print(f"{'wsgi_admission':<20}{'off':>12}{'on':>12}")
    for key in result["on"]:
        unit = "" if key == "requests" else " %" if "over" in key else " ms"
        show = "{:,.0f}" if key == "requests" else "{:,.1f}"
        print(f"{key:<20}" + "".join(f"{show.format(result[flag][key]) + unit:>12}" for flag in times))
    (OUT / "admission.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench/admission.py: {error}")
