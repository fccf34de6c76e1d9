"""The tables of docs/benchmarks.md, from build/bench/results.json. Where others do better stands in losses.py."""

import datetime
import statistics

from speed.claims import per_worker
from speed.figures import cell, ratio
from speed.rounds import DISTURBED, shown

from .names import REFERENCE, is_ours, title

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


# Where and when.

def machine(results):
    """Of one run, or of several that have measured parts of it."""
    runs, entries = results["runs"], measured_parts(results)
    of_run = {begun: [name for name, entry in entries.items() if entry["run"] == begun] for begun in runs}
    of_run = {begun: names for begun, names in of_run.items() if names}
    if len(of_run) == 1:
        (begun, names), = of_run.items()
        last = max(datetime.datetime.fromisoformat(entry["began"]) + datetime.timedelta(seconds=entry["seconds"])
                   for entry in entries.values())
        text = f"Measured in one run, {at(begun)} to {at(last.isoformat())}: {circumstances(runs[begun])}."
    else:
        text = ("**Not everything was measured in the same run.** What stands in one table always was; between tables "
                "the machine may have been in another mood, and the module another one.\n\n")
        text += table(["run", "where and how", "what was measured"],
                      [[at(begun), circumstances(runs[begun]), ", ".join(f"`{name}`" for name in names)]
                       for begun, names in of_run.items()], 3)
    return f"{text}\n\n{disturbed(results)}"


def measured_parts(results):
    """{name: entry} of all workloads and scenes."""
    return {**results["workloads"], **results["scenes"]}


def at(time):
    """For readers: 2026-11-21 23:54 UTC."""
    return f"{datetime.datetime.fromisoformat(time).astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"


def circumstances(run):
    here, settings = run["machine"], run["settings"]
    cores = "server and load on different cores" if here["pinned"] else "server and load on the same cores"
    return (f"{here['cpu']}, {here['cores']} cores, Linux {here['kernel']}; {cores}; {settings['rounds']} × "
            f"{settings['seconds']:g} s for each server, {settings['connections']} connections; load average "
            f"{here['load_average']:.2f} at the start")


def disturbed(results):
    """How quiet it was."""
    cells = [found for entry in results["workloads"].values() for rows in entry["cells"].values() for found in rows]
    noisy = sum(found["others"] > DISTURBED for found in cells)
    if not noisy:
        return f"Nothing else used more than {DISTURBED:.0%} of a core in any of the {len(cells):,} stretches of load."
    return (f"In {noisy:,} of the {len(cells):,} stretches of load something else used more than {DISTURBED:.0%} of a "
            "core, in a second attempt too.")


def versions(results):
    """Of several runs, all that differ."""
    found = sorted({(title(name), text) for run in results["runs"].values() for name, text in run["versions"].items()})
    return table(["server", "version"], list(map(list, found)), 2)


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
    unknown = sum(verdict.holds is None for verdict in verdicts)
    measured = (f"{len(verdicts) - unknown} of {len(verdicts)} bounds were measured" if unknown
                else "All bounds were measured")
    reasons = "".join(f"\n- {verdict.claim.text}: not measured, {verdict.why}" for verdict in verdicts
                      if verdict.holds is None)
    if not lost:
        return f"{measured}, and those are held." + (f"\n{reasons}" if reasons else "")
    lines = [f"- {verdict.claim.text}: {value(verdict)[0]} {verdict.claim.unit}".rstrip()
             + f" instead of {bound(verdict.claim)}" + (f" ({title(verdict.against)})" if is_open(verdict) else "")
             for verdict in lost]
    are = "is" if len(lost) == 1 else "are"
    return f"{measured}; {len(lost)} {are} not held:\n\n" + "\n".join(lines) + reasons


# Workloads and scenes.

def workload(results, name):
    cells = results["workloads"][name]["cells"]
    order = sorted(cells, key=lambda contender: statistics.median(row["cpu_us"] for row in cells[contender]))
    rows = [[named(contender), *cost(cells[contender]),
             *([times(results, name, contender)] if REFERENCE in cells else []), median(cells[contender], "rps", 0),
             *(median(cells[contender], key, digits) for key, digits in CELLS),
             mebibytes(statistics.median(row["pss_kib"] for row in cells[contender]))] for contender in order]
    return table(["", "CPU µs", "min–max", *(["× `return 200`"] if REFERENCE in cells else []), "requests/s", "p50 ms",
                  "p99 ms", "max ms", "PSS MiB"], rows)


def cost(rows):
    """Two columns; tenths of a microsecond where they mean something."""
    costs = [row["cpu_us"] for row in rows]
    return shown(costs, 1 if statistics.median(costs) < 1000 else 0).split(" | ")


def times(results, name, contender):
    """The ratio to nginx itself, round by round."""
    return number(statistics.median(ratio(cell(name, "cpu_us"), contender, REFERENCE)(results)[0]), 2)


def visitor(rows, when, keys=("p50_ms", "p99_ms", "max_ms")):
    """The medians of a steady visitor."""
    seen = [row[when] for row in rows if "stalled" not in row[when]]
    if len(seen) < len(rows):
        return ["stalled"] * len(keys)
    return [median(seen, key, 2) for key in keys]


def slowreaders(scene):
    rows, lines = scene["rows"], []
    for contender, found in rows.items():
        before, during = (statistics.median(row[key] for row in found) for key in ("before_kib", "during_kib"))
        lines.append([named(contender), mebibytes(before), mebibytes(during), f"{(during - before) / 1024:+,.1f}",
                      median(found, "served", 0), *visitor(found, "before", ("p50_ms", "p99_ms")),
                      *visitor(found, "during")])
    return table(["", "PSS MiB", "beside them", "more", "served", "p50 ms before", "p99 before", "p50 beside",
                  "p99 beside", "max beside"], lines)


def staticbeside(scene):
    lines = [[named(contender), *visitor(found, "alone"), *visitor(found, "during"), median(found, "rps", 0)]
             for contender, found in scene["rows"].items()]
    return table(["", "p50 ms alone", "p99 alone", "max alone", "p50 beside", "p99 beside", "max beside",
                  "sleeping requests/s"], lines)


def memory(scene):
    rows = scene["rows"]

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
        text += "\n\n" + table(["without what is mapped from files", "before, MiB", "with 10,000 connections", "more"],
                               kept)
    if workers := [name for name in order if "workers_kib" in rows[name][0]]:
        counts = list(rows[workers[0]][0]["workers_kib"])
        heads = [f"{count} worker{'s' if int(count) > 1 else ''}, MiB" for count in counts]
        text += "\n\n" + table(
            ["64 connections for each worker", *heads, "each further one"],
            [[named(name), *(mebibytes(statistics.median(row["workers_kib"][count] for row in rows[name]))
                             for count in counts),
              f"{statistics.median(map(per_worker, rows[name])) / 1024:,.2f}"] for name in workers])
    return text


def python(scene):
    """One piece of each kind of work, by each kind of Python."""
    work, rows = list(scene["ratio"]), scene["rows"]
    order = sorted(rows, key=lambda name: statistics.median(row[work[0]] for row in rows[name]))
    head = ["", *(text for kind in work for text in (f"{kind}, CPU µs", "min–max", "× `python3`"))]
    lines = [[named(name), *(text for kind in work for text in (
                 *shown([row[kind] for row in rows[name]], 1).split(" | "),
                 number(scene["ratio"][kind][name], 2)))] for name in order]
    return (table(head, lines) + "\n\n" + table(
        ["", "version"], [[named(name), text] for name, text in scene["versions"].items()], 2))


SCENES = {"slowreaders": slowreaders, "staticbeside": staticbeside, "memory": memory, "python": python}


def missing(results):
    if not results["missing"]:
        return "Nothing."

    def short(why):
        return " ".join(why.split())[:200].replace("|", "\\|")

    return table(["", "server", "why"], [[row["workload"], title(row["contender"]), short(row["why"])]
                                         for row in results["missing"]], 3)
