#!/usr/bin/env python3
"""Measures what a request through the module costs, beside what nginx itself needs for the same bytes.

    bench/run.py                                            # everything, about five minutes
    BENCH=hello ROUNDS=11 CHECK=1 bench/run.py              # or: bench/run.py hello

One nginx with one worker answers all contenders of a benchmark, in turns, so that they share process, memory layout,
and the machine's moods. What counts is CPU time: utime and stime of all processes of the server, divided by what they
did. bench/README.md explains the settings and how to read the result; what is measured is in bench/speed/.
"""

import datetime
import json
import os
import pathlib
import platform
import sys

# No cache folder among the sources.
sys.dont_write_bytecode = True
sys.path[:1] = [str(pathlib.Path(__file__).resolve().parent)]
from speed.hello import Hello  # noqa: E402
from speed.load import load_generator  # noqa: E402
from speed.machine import cores, cpu_model  # noqa: E402
from speed.server import Server  # noqa: E402
from speed.settings import OUT, Failed, number, server_files, setting  # noqa: E402
from speed.sleep import Sleep  # noqa: E402
from speed.stream import Stream  # noqa: E402

BENCHES = {bench.name: bench for bench in (
    Hello("hello", 0, 1.35), Hello("threads1", 1, 2.2), Hello("threads8", 8, 2.8), Sleep(), Stream())}


def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    wanted = sys.argv[1:] or setting("BENCH", default=" ".join(BENCHES)).split()
    unknown = [name for name in wanted if name not in BENCHES]
    if unknown:
        raise Failed(f"BENCH may hold {', '.join(BENCHES)}, not {' '.join(unknown)}")
    nginx, module = server_files()
    options = {
        "rounds": int(number("ROUNDS", 7, 1, 99)),
        "seconds": number("SECONDS_PER_ROUND", 2, 1, 60),
        "connections": int(number("CONNECTIONS", 16, 1, 512)),
    }
    generator = None
    if wanted != ["stream"]:
        generator, options["load"] = load_generator()

    server_core, load_core = cores()
    os.sched_setaffinity(0, load_core)
    if os.getloadavg()[0] > 0.7:
        print(f"something else is running here, the load average is {os.getloadavg()[0]:.2f}: "
              "do not trust the figures", file=sys.stderr)
    OUT.mkdir(parents=True, exist_ok=True)
    broken = []
    for name in wanted:
        bench = BENCHES[name]
        machine = {
            "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "cpu": cpu_model(),
            "cores": os.cpu_count(), "kernel": platform.release(),
            "pinned": server_core != load_core, "load_average": os.getloadavg()[0], "load_generator": generator,
        }
        print(f"{name}: {options['rounds']} rounds", file=sys.stderr, flush=True)
        with Server(nginx, module, server_core, bench.locations, bench.first) as server:
            result = bench.run(server, options)
            machine["versions"] = server.version()
        result["settings"] = {key: value for key, value in options.items() if key != "load"}
        result["machine"] = machine
        table = result.pop("table")
        (OUT / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        print("\n".join(table))
        print()
        print(f"{name}: ratio {result['ratio']['median']:.3f} (bound {result['bound']})")
        if "static" in result:
            print(f"{name}: the static file's p99 {result['static']['later_us']:+,.0f} µs "
                  f"(bound {result['static']['bound_us']:+,} µs)")
        print(f"{machine['versions']}; {machine['cpu']}; {options['rounds']} rounds, {result['noisy']} of them "
              f"disturbed; {'server and load on different cores' if machine['pinned'] else 'one core for both'}")
        print(flush=True)
        if not result["holds"]:
            broken.append(name)
    if setting("CHECK", default="0") != "0" and broken:
        print(f"outside of its bound: {', '.join(broken)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"bench: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
