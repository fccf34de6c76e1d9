"""What is claimed of the module's speed and memory, and whether the figures of build/bench/results.json hold it.

A claim compares within each round; what counts is the median of the rounds. `verdicts(results)` tells of each whether
it holds, `holds(results)` of all together: what was not measured is not held against it.
"""

import dataclasses
import operator
import statistics

from .figures import Missing, alone, cell, difference, ratio, row, visit

BARE = ("fastpysgi", "bjoern")
PROXIED = ("uwsgi", "gunicorn-gthread", "granian-nginx")
SMALL = ("hello", "hello20", "json", "body64k", "body1m")
# Of what PSS is told in.
MB_IN_KIB = 1024 / 1e6
# What 64 requests at a time that take 10 ms make of a second.
IDEAL = 6400


@dataclasses.dataclass(frozen=True)
class Claim:
    text: str
    bound: float
    measure: object                 # results -> (the value of each round, compared with whom); see figures.py
    unit: str = "×"
    most: bool = True               # the bound is the most, otherwise the least


@dataclasses.dataclass(frozen=True)
class Verdict:
    claim: Claim
    values: list
    against: str                    # the contender that it was compared with
    why: str                        # why it was not measured

    @property
    def measured(self):
        return statistics.median(self.values) if self.values else None

    @property
    def holds(self):
        """None if it was not measured."""
        if not self.values:
            return None
        return self.measured <= self.claim.bound if self.claim.most else self.measured >= self.claim.bound


def cpu(text, workload, bound, other, ours="module"):
    """CPU time for each request."""
    return Claim(text, bound, ratio(cell(workload, "cpu_us"), ours, other))


def of_requests():
    yield cpu("hello, called by the event loop, against `return 200`", "hello", 1.2, "return-200")
    yield cpu("hello20 against `return 200`", "hello20", 1.6, "return-200")
    yield cpu("hello in 1 thread against `return 200`", "hello", 2.0, "return-200", "module-threads1")
    yield cpu("hello in 8 threads against `return 200`", "hello", 2.4, "return-200", "module-threads8")
    for name in SMALL:
        yield cpu(f"{name} against the best bare event-loop server", name, 1.0, BARE)
        yield cpu(f"{name}, optimised libpython as theirs, against the best bare event-loop server", name, 1.0, BARE,
                  "module-fast")
    for name in SMALL:
        yield cpu(f"{name} against nginx + uWSGI", name, 0.4, "uwsgi")
    yield cpu("stream, every block flushed, against nginx + uWSGI", "stream", 0.6, "uwsgi")
    yield cpu("post1m against nginx + uWSGI", "post1m", 0.4, "uwsgi")
    yield cpu("file10m against nginx's own static file", "file10m", 1.1, "static-file")


def of_python():
    for name, work in (("loop", "a loop"), ("django", "a view of Django")):
        yield Claim(f"python: {work} in the module, optimised libpython, against `python3` by itself", 1.05,
                    ratio(row("python", operator.itemgetter(name)), "module-fast", "python3"))
    for name in ("django", "flask"):
        yield cpu(f"{name}, optimised libpython, against FastPySGI", name, 1.0, "fastpysgi", "module-fast")
    for name in ("django", "cpu1ms"):
        yield cpu(f"{name}, optimised libpython, against the best in the stand-alone interpreter", name, 1.05, BARE,
                  "module-fast")


def of_slow_readers():
    def rise(row):
        return (row["during_kib"] - row["before_kib"]) * MB_IN_KIB

    def later(row):
        return row["during"]["p99_ms"] - row["before"]["p99_ms"]

    for name, how in (("module", ""), ("module-buffered", ", `wsgi_output_buffering on`"),
                      ("module-threads8", ", 8 threads")):
        yield Claim(f"slowreaders{how}: PSS rises by", 20, alone(row("slowreaders", rise), name), "MB")
    yield Claim("slowreaders: the p99 of the fast visitor rises by", 0.2, alone(row("slowreaders", later), "module"),
                "ms")


def of_sleep():
    ours = "module-threads64"
    yield Claim(f"sleep64: share of the ideal {IDEAL:,} requests a second", 0.95,
                alone(cell("sleep64", "rps"), ours, 1 / IDEAL), "", most=False)
    yield Claim("sleep64: p99", 15, alone(cell("sleep64", "p99_ms"), ours), "ms")
    yield Claim("sleep64: p99 against granian's", 1.1, ratio(cell("sleep64", "p99_ms"), ours, "granian"))
    for key in ("p50", "p99"):
        for text, others in (("nginx + uWSGI", "uwsgi"), ("the best server behind nginx", PROXIED)):
            yield Claim(f"staticbeside: {key} of the file against {text}", 1.1,
                        ratio(visit("staticbeside", "during", f"{key}_ms"), ours, others))


def of_memory():
    idle = row("memory", lambda row: row["idle_kib"])
    kept = row("memory", lambda row: row["kept_kib"] - row["before_kib"])
    yield Claim("memory: one worker with hello over nginx alone", 12,
                difference(idle, "module", "return-200", MB_IN_KIB), "MB")
    yield Claim("memory: each further worker, with 64 connections kept alive", 6,
                alone(row("memory", per_worker), "module", MB_IN_KIB), "MB")
    for name, how in (("module", ""), ("module-threads8", ", 8 threads")):
        yield Claim(f"memory: 10,000 connections kept alive{how}, against nginx alone", 1.01,
                    ratio(kept, name, "return-200"))


def per_worker(row):
    """KiB of each worker but the first."""
    found = {int(workers): kib for workers, kib in row["workers_kib"].items()}
    few, many = min(found), max(found)
    return (found[many] - found[few]) / (many - few)


def claims():
    """All of them, in the order of the report."""
    return [*of_requests(), *of_python(), *of_slow_readers(), *of_sleep(), *of_memory()]


def verdict(claim, results):
    try:
        values, against = claim.measure(results)
    except Missing as missing:
        return Verdict(claim, [], "", str(missing))
    return Verdict(claim, values, against, "")


def verdicts(results):
    return [verdict(claim, results) for claim in claims()]


def holds(results):
    """Whether none of the claims is broken."""
    return all(verdict.holds is not False for verdict in verdicts(results))
