#!/usr/bin/env python3
"""Lets good and bad visitors loose on applications in threads for ten minutes, and looks for what leaks or breaks.

    bench/soak.py                                           # ten minutes
    DURATION=60 bench/soak.py                               # one
    DURATION=60 WITHOUT="timeout cancel" bench/soak.py      # without some of the visitors

Two nginx run side by side on 127.0.0.1, with two workers each: one has the same workers all the time, the other is
reloaded (HUP) every 20 to 30 seconds. Every answer is compared with what was asked for, byte by byte. The exit code is
1 if a byte was wrong, if there was a 5xx that nobody asked for, if memory grew after the warm-up, or if a thread, a
descriptor, a connection or a process stayed. build/soak/ has samples.csv, summary.json and the servers' logs.

Settings: DURATION (seconds, 600), SEED (1), VISITORS (how many times more, 1), WITHOUT ("unbuffered cancel timeout
stuck http2 reload recycle"), WSGI_NGINX, WSGI_MODULE.
"""

import collections
import json
import pathlib
import random
import re
import signal
import sys
import threading
import time

BENCH = pathlib.Path(__file__).resolve().parent
# No cache folder among the sources.
sys.dont_write_bytecode = True
sys.path[:1] = [str(BENCH), str(BENCH.parent / "tests")]
from harness.nginx import NginxError, open_fds  # noqa: E402
from soaking import clients, verdict  # noqa: E402
from soaking.samples import Samples  # noqa: E402
from soaking.server import OPTIONS, Reloads, Server  # noqa: E402
from speed.machine import cpu_model  # noqa: E402
from speed.settings import ROOT, Failed, number, server_files, setting  # noqa: E402

OUT = ROOT / "build" / "soak"
THREADS = 8


def visitors(server, without, times):
    """Kinds of visitors for one server, as often as they come."""
    crew = {clients.Reader: 6, clients.Zipped: 1, clients.Waiter: 3, clients.Uploader: 2, clients.Asker: 1,
            clients.Crowd: 1, clients.Dawdler: 3, clients.Leaver: 3}
    if "http2" not in without:
        from soaking.http2 import Streams
        crew[Streams] = 2
    if "unbuffered" not in without:
        crew[clients.Streamed] = 2
    if "cancel" not in without:
        crew[clients.Quitter] = 1
    if "timeout" not in without:
        crew[clients.Overdue] = 1
        # Each of them costs a worker, which only this server has to spare.
        if server.name == "reloaded" and "stuck" not in without:
            crew[clients.Stuck] = 1
    return [kind for kind, count in crew.items() for _ in range(round(count * times))]


def report(tally, rows, servers, most, problems, seconds):
    """The tables, as lines."""
    columns = list(dict.fromkeys(what for count in tally.counts.values() for what in sorted(count)))
    columns.sort(key=lambda what: (what != "right", what == "failed"))
    if "failed" not in columns:
        columns.append("failed")
    lines = [f"| visitors | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for kind, count in tally.counts.items():
        lines.append(f"| {kind} | {' | '.join(f'{count[what]:,}' if count[what] else '' for what in columns)} |")
    lines += ["", "| memory, MiB | after the warm-up | at the end | growth |", "|---|---:|---:|---:|"]
    for title, before, after in rows:
        lines.append(f"| {title} | {before / 1024:.1f} | {after / 1024:.1f} | {(after - before) / 1024:+.2f} |")
    lines += ["", "| server | HUPs | threads of a worker, at most | errors in the log |", "|---|---:|---:|---:|"]
    for server in servers:
        errors = len(re.findall(r"\[error\]", server.log()))
        lines.append(f"| {server.name} | {server.hups} | {most[server.name]} | {errors:,} |")
    answers = sum(count[what] for count in tally.counts.values() for what in count if what != "asked again")
    lines += ["", f"{answers:,} visits in {seconds:.0f} s, {answers / seconds:,.0f} a second; {cpu_model()}"]
    lines += [f"- {problem}" for problem in problems] or ["nothing leaked, nothing was wrong"]
    return lines


def finish(servers, baseline, samples, tally, crew, reloads, warm, end):
    """Everything that the visitors have left behind: (memory rows, most threads, problems)."""
    rows, most, problems = [], {}, []
    for one in crew:
        one.join(60)
        if one.is_alive():
            problems.append(f"{one.server.name}: a visitor ({one.kind}) still waits for an answer")
    for one in reloads:
        one.join(60)
        problems += one.failures
    for server in servers:
        problems += verdict.settle(server)
        problems += verdict.left_open(server, baseline[server.name])
        problems += verdict.not_closed(server)
        most[server.name], found = verdict.threads(samples.rows, server, warm)
        problems += found
        more, found = verdict.growth(samples.rows, server.name, warm, end)
        rows += more
        problems += found
        problems += sorted(set(re.findall(r"SOAK: .*", server.log())))
    failed = collections.Counter({kind: count["failed"] for kind, count in tally.counts.items() if count["failed"]})
    problems += [f"{count} failed: {kind}" for kind, count in failed.items()]
    return rows, most, problems + tally.failures


def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    duration = number("DURATION", 600, 10, 86400)
    times = number("VISITORS", 1, 0.2, 20)
    seed = int(number("SEED", 1, 0, 1 << 31))
    without = set((setting("WITHOUT", default="") or "").split())
    known = [*OPTIONS, "stuck", "http2", "reload", "recycle"]
    if unknown := without - set(known):
        raise Failed(f"WITHOUT may hold {' '.join(known)}, not {' '.join(unknown)}")
    server_files()
    dice = random.Random(seed)
    left_out = {OPTIONS[name] for name in without & set(OPTIONS)}
    servers = [Server("steady", OUT / "steady", THREADS, left_out),
               Server("reloaded", OUT / "reloaded", THREADS, left_out, recycle="recycle" not in without)]
    stop, enough = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for server in servers:
            server.start()
        baseline = {server.name: {pid: open_fds(pid) for pid in server.workers()} for server in servers}
        tally = clients.Tally()
        samples = Samples(servers, enough, OUT / "samples.csv", min(2, duration / 30))
        samples.start()
        crew = [kind(server, stop, tally, dice.random()) for server in servers
                for kind in visitors(server, without, times)]
        least, most = (20, 30) if duration >= 120 else (duration / 8, duration / 5)
        reloads = [] if "reload" in without else [Reloads(servers[1], stop, seed, least, most)]
        begun = time.monotonic()
        for one in [*crew, *reloads]:
            one.start()
        while (left := begun + duration - time.monotonic()) > 0:
            time.sleep(min(left, 30))
            done = sum(sum(count.values()) for count in list(tally.counts.values()))
            print(f"  {time.monotonic() - begun:4.0f} s: {done:,} visits, {len(tally.failures)} failures",
                  file=sys.stderr, flush=True)
        seconds = time.monotonic() - begun
        end = samples.rows[-1].second
        stop.set()
        rows, threads, problems = finish(servers, baseline, samples, tally, crew, reloads, duration / 4, end)
        enough.set()
        samples.join()
        pids = [pid for server in servers for pid in [server.pid, *server.all_children()]]
        for server in servers:
            try:
                server.stop(timeout=45)
            except NginxError as error:
                problems.append(f"{server.name}: {error}"[:2000])
        problems += verdict.gone(pids)
    finally:
        stop.set()
        enough.set()
        for server in servers:
            server.kill()
    lines = report(tally, rows, servers, threads, problems, seconds)
    print("\n".join(lines))
    (OUT / "summary.json").write_text(json.dumps({
        "seconds": seconds, "seed": seed, "without": sorted(without), "visits": tally.counts, "memory_kib": rows,
        "hups": {server.name: server.hups for server in servers}, "problems": problems}, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, NginxError) as failed:
        sys.exit(f"soak: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
