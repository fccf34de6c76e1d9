"""The tables of docs/benchmarks.md, from build/bench/results.json."""

import statistics

from speed.figures import Missing, cell, ratio
from speed.rounds import shown

from .names import REFERENCE, is_ours, is_peer, title

MARKS = {True: "yes", False: "**no**", None: "not measured"}
CELLS = (("p50_ms", 2), ("p99_ms", 2), ("max_ms", 1))


def table(head, rows, left=1):
    """Markdown; the first `left` columns are text."""
    rule = ["---" if number < left else "---:" for number in range(len(head))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, rule, *rows])


def named(contender):
    """Ours stand out."""
    return f"**{title(contender)}**" if is_ours(contender) else title(contender)


def number(value, digits):
    """With fewer digits where it is large, which would not mean anything."""
    return f"{value:,.{digits if value < 100 else 0}f}"


def median(rows, key, digits):
    return number(statistics.median(row[key] for row in rows), digits)


def mebibytes(kib):
    return f"{kib / 1024:,.1f}"


def machine(results):
    here, settings = results["machine"], results["settings"]
    cores = "server and load on different cores" if here["pinned"] else "server and load on the same cores"
    return (f"{here['time'][:10]}; {here['cpu']}, {here['cores']} cores, Linux {here['kernel']}; {cores}; "
            f"{settings['rounds']} rounds of {settings['seconds']:g} s, {settings['workers']} worker"
            f"{'s' if settings['workers'] > 1 else ''}, {settings['connections']} connections; load average "
            f"{here['load_average']:.2f} at the start.")


def versions(results):
    return table(["server", "version"], [[title(name), text] for name, text in sorted(results["versions"].items())], 2)


# Claims.

def claims(verdicts):
    rows = [[verdict.claim.text + (f": {title(verdict.against)}" if is_open(verdict) else ""),
             bound(verdict.claim), *value(verdict), MARKS[verdict.holds]] for verdict in verdicts]
    return table(["claim", "bound", "measured", "min–max", "holds"], rows)


def is_open(verdict):
    """Whether the claim leaves open which of several it is compared with."""
    return verdict.against and "best" in verdict.claim.text


def bound(claim):
    return f"{'≤' if claim.most else '≥'} {claim.bound:g} {claim.unit}".strip()


def value(verdict):
    if verdict.holds is None:
        return "–", "–"
    return [part.strip() for part in shown(verdict.values, 3 if verdict.measured < 10 else 2).split("|")]


def broken(verdicts):
    """What does not hold, in words."""
    lost = [verdict for verdict in verdicts if verdict.holds is False]
    if not lost:
        return "All bounds that were measured are held."
    lines = [f"- {verdict.claim.text}: {value(verdict)[0]} {verdict.claim.unit}".rstrip()
             + f" instead of {bound(verdict.claim)}" + (f" ({title(verdict.against)})" if is_open(verdict) else "")
             for verdict in lost]
    return f"Of {len(verdicts)} bounds {len(lost)} are not held:\n\n" + "\n".join(lines)


def lost(results):
    """Where another server takes less CPU time, whatever the bounds."""
    lines = []
    for name, workload in results["workloads"].items():
        costs = {contender: statistics.median(row["cpu_us"] for row in rows)
                 for contender, rows in workload["cells"].items() if rows}
        ours = min((cost for contender, cost in costs.items() if is_ours(contender)), default=None)
        better = sorted((cost, contender) for contender, cost in costs.items()
                        if ours and cost < ours and is_peer(contender))
        if better:
            found = ", ".join(f"{title(contender)} {number(cost, 1)}" for cost, contender in better)
            lines.append(f"- {name}: {number(ours, 1)} µs; {found}")
    if not lines:
        return "In no workload does another server take less CPU time for a request."
    return "CPU time for a request, ours and what is below it:\n\n" + "\n".join(lines)


# Workloads and scenes.

def workload(results, name):
    cells = results["workloads"][name]["cells"]
    order = sorted(cells, key=lambda contender: statistics.median(row["cpu_us"] for row in cells[contender]))
    rows = [[named(contender), *shown([row["cpu_us"] for row in cells[contender]], 1).split(" | "),
             times(results, name, contender), median(cells[contender], "rps", 0),
             *(median(cells[contender], key, digits) for key, digits in CELLS),
             mebibytes(statistics.median(row["pss_kib"] for row in cells[contender]))] for contender in order]
    return table(["", "CPU µs", "min–max", "× `return 200`", "requests/s", "p50 ms", "p99 ms", "max ms", "PSS MiB"],
                 rows)


def times(results, name, contender):
    try:
        return number(statistics.median(ratio(cell(name, "cpu_us"), contender, REFERENCE)(results)[0]), 2)
    except Missing:
        return "–"


def visitor(rows, when, keys=("p50_ms", "p99_ms", "max_ms")):
    """The medians of a steady visitor."""
    seen = [row[when] for row in rows if "stalled" not in row[when]]
    if len(seen) < len(rows):
        return ["stalled"] * len(keys)
    return [median(seen, key, 2) for key in keys]


def slowreaders(rows):
    lines = []
    for contender, found in rows.items():
        before, during = (statistics.median(row[key] for row in found) for key in ("before_kib", "during_kib"))
        lines.append([named(contender), mebibytes(before), mebibytes(during), f"{(during - before) / 1024:+,.1f}",
                      median(found, "served", 0), *visitor(found, "before", ("p50_ms", "p99_ms")),
                      *visitor(found, "during")])
    return table(["", "PSS MiB", "beside them", "more", "served", "p50 ms before", "p99 before", "p50 beside",
                  "p99 beside", "max beside"], lines)


def staticbeside(rows):
    lines = [[named(contender), *visitor(found, "alone"), *visitor(found, "during"), median(found, "rps", 0)]
             for contender, found in rows.items()]
    return table(["", "p50 ms alone", "p99 alone", "max alone", "p50 beside", "p99 beside", "max beside",
                  "sleeping requests/s"], lines)


def memory(rows):
    def middle(contender, key):
        return statistics.median(row[key] for row in rows[contender])

    order = sorted(rows, key=lambda contender: middle(contender, "idle_kib"))
    text = table(["", "PSS idle, MiB", "after a load"],
                 [[named(name), mebibytes(middle(name, "idle_kib")), mebibytes(middle(name, "after_kib"))]
                  for name in order])
    kept = [[named(name), mebibytes(middle(name, "before_kib")), mebibytes(middle(name, "kept_kib")),
             f"{(middle(name, 'kept_kib') - middle(name, 'before_kib')) / 1024:,.2f}"]
            for name in order if "kept_kib" in rows[name][0]]
    if kept:
        text += "\n\n" + table(["", "before, MiB", "with 10,000 connections", "more"], kept)
    return text


SCENES = {"slowreaders": slowreaders, "staticbeside": staticbeside, "memory": memory}


def missing(results):
    if not results["missing"]:
        return "Nothing."
    return table(["", "server", "why"], [[row["workload"], title(row["contender"]), " ".join(row["why"].split())[:200]]
                                         for row in results["missing"]], 3)
