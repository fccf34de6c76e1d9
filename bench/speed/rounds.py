"""Contenders are measured in turns, and compared round by round."""

import statistics
import sys
import time

from .machine import busy_time, own_time
from .settings import Failed


def measured(server, work):
    """What `work()` returns, with the CPU time of the server and the noise meanwhile."""
    all_before, own_before, cpu_before, start = busy_time(), own_time(), server.cpu(), time.monotonic()
    result = work()
    result["elapsed"] = time.monotonic() - start
    result["cpu"] = server.cpu() - cpu_before
    own = own_time() - own_before
    # Cores that others used meanwhile; the counters have a grain of a hundredth of a second.
    result["others"] = max(0.0, busy_time() - all_before - result["cpu"] - own) / result["elapsed"]
    if result.pop("failed", 0):
        raise Failed("some requests failed: see build/bench/run/error.log")
    return result


def rounds_of(contenders, rounds, work):
    """Measures every contender once per round, the order turned round each time."""
    results = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in contenders if turn % 2 == 0 else reversed(contenders):
            results[name].append(work(name))
        print(f"  round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return results


def used(cell):
    """CPU seconds of a cell, which are never none."""
    if not cell["cpu"]:
        raise Failed("no CPU time was counted: a round is too short")
    return cell["cpu"]


def ratios(results, name, reference, value):
    return [value(one) / value(other) for one, other in zip(results[name], results[reference])]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def shown(values, digits):
    """A median and its range, as two cells of a table."""
    text = spread(values)
    return f"{text['median']:,.{digits}f} | {text['min']:,.{digits}f}–{text['max']:,.{digits}f}"


def middle(cells, key, digits=0):
    """The median of one figure, or a dash where the load generator does not tell it."""
    return f"{statistics.median(cell[key] for cell in cells):,.{digits}f}" if key in cells[0] else "–"


def noisy(results):
    """Rounds in which something else used more than a tenth of a core."""
    return sum(any(cell["others"] > 0.1 for cell in cells) for cells in zip(*results.values()))
