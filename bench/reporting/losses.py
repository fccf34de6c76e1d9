"""Where another server does better than the module, whatever is claimed: found in the figures, not chosen."""

import statistics

from speed.figures import Missing, cell, row, visit

from .names import OURS, is_ours, is_peer, title
from .tables import number, table

FAST = "module-fast"
# What is not CPU time for a request: (what, unit, figure, whose of ours, how many digits). The least is the best.
ELSEWHERE = (
    ("p99 of `sleep64`", "ms", cell("sleep64", "p99_ms"), "module-threads64", 1),
    ("p99 of `sleep512`", "ms", cell("sleep512", "p99_ms"), "module-threads64", 1),
    ("PSS idle, one worker with hello", "MiB", row("memory", lambda one: one["idle_kib"] / 1024), OURS, 1),
    ("PSS after a load", "MiB", row("memory", lambda one: one["after_kib"] / 1024), OURS, 1),
    ("PSS that 200 slow readers add", "MiB",
     row("slowreaders", lambda one: (one["during_kib"] - one["before_kib"]) / 1024), OURS, 1),
    ("p99 of a visitor beside slow readers", "ms", visit("slowreaders", "during", "p99_ms"), OURS, 2),
    ("p99 of a static file beside requests that sleep", "ms", visit("staticbeside", "during", "p99_ms"),
     "module-threads64", 2),
)


def of_cpu(results):
    """Workloads in which someone needs less CPU time for a request, beside the module with either kind of libpython."""
    lines = []
    for name, workload in results["workloads"].items():
        costs = {contender: statistics.median(found["cpu_us"] for found in rows)
                 for contender, rows in workload["cells"].items() if rows}
        mine = next((contender for contender in (OURS, *costs) if contender in costs and is_ours(contender)), None)
        if mine is None:
            continue
        ours = costs[mine]
        better = sorted((cost, contender) for contender, cost in costs.items() if is_peer(contender) and cost < ours)
        if better:
            fast = costs.get(FAST)
            still = [one for one in better if fast is None or one[0] < fast]
            lines.append([f"`{name}`", number(ours, 1), listed(better, 1), number(fast, 1) if fast else "–",
                          (listed(still, 1) or "nobody") if fast else "–"])
    if not lines:
        return "In no workload does another server take less CPU time for a request."
    return ("Workloads in which another server takes less CPU time for a request, in µs. The last two columns "
            "are of the module with an optimised libpython, where it was measured.\n\n"
            + table(["", "nginx mod_wsgi", "less than that", "with an optimised libpython", "less than that"],
                    lines))


def elsewhere(results):
    """The same of memory and of waiting."""
    lines = []
    for what, unit, find, ours, digits in ELSEWHERE:
        try:
            own = statistics.median(find(results, ours))
        except Missing:
            continue
        better = sorted((value, contender) for contender, value in others(results, find) if value < own)
        if better:
            lines.append([f"{what}, {unit}", number(own, digits), listed(better, digits)])
    if not lines:
        return "In memory and waiting times that were measured no other server is better."
    return ("Figures of memory and of waiting in which another server is better:\n\n"
            + table(["", "nginx mod_wsgi", "less than that"], lines))


def others(results, find):
    """(contender, median) of all servers that are not ours and have this figure."""
    names = {name for part in results["workloads"].values() for name in part["cells"]}
    names |= {name for part in results["scenes"].values() for name in part["rows"]}
    for name in sorted(filter(is_peer, names)):
        try:
            yield name, statistics.median(find(results, name))
        except Missing:
            continue


def listed(better, digits):
    return ", ".join(f"{title(contender)} {number(value, digits)}" for value, contender in better)
