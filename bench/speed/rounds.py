"""Contenders are measured in turns, and compared round by round."""

import statistics
import sys
import time

from .machine import busy_time, own_time
from .settings import Failed


# More than so many cores used by something else: do not trust it.
DISTURBED = 0.1


def measured(server, work, beside=None):
    """What `work()` returns, with the CPU time of the server and the noise meanwhile. What `beside` uses, another
    server, counts for nobody."""
    def used_so_far():
        other = sum(beside.cpu()) if beside else 0
        return busy_time(), own_time() + other, *server.cpu(), time.monotonic()

    before = used_so_far()
    result = work()
    busy, own, user, system, elapsed = (now - then for now, then in zip(used_so_far(), before))
    result.update(elapsed=elapsed, cpu=user + system, user=user, system=system)
    # Cores that others used meanwhile; the counters have a grain of a hundredth of a second.
    result["others"] = max(0.0, busy - user - system - own) / elapsed
    if failed := result.pop("failed", 0):
        raise Failed(f"{failed} of {result['requests'] + failed} requests failed: {server.last_words()}")
    return result


def in_turn(contenders, turn):
    """The order of this round: another one to begin with, and every other time backwards."""
    first = turn // 2 * 3 % max(1, len(contenders))
    order = contenders[first:] + contenders[:first]
    return order if turn % 2 == 0 else order[::-1]


def rounds_of(contenders, rounds, work):
    """Measures every contender once per round, in an order that changes."""
    results = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in in_turn(contenders, turn):
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
    """Rounds that something else disturbed."""
    return sum(any(cell["others"] > DISTURBED for cell in cells) for cells in zip(*results.values()))
