"""The pictures of docs/benchmarks.md. `python -m reporting.charts RESULTS FOLDER` draws those that there are figures
for, and prints the names of their files."""

import json
import pathlib
import statistics
import sys

from speed.figures import cell, ratio

from . import drawing
from .names import OURS, REFERENCE, is_nginx, is_ours, is_peer, title
from .svg import write

# Workloads with bars of their own, of all contenders.
BARS = ("hello20", "json", "stream", "cpu1ms", "django", "djangodb")
LATENCY = ("sleep64", "sleep512")
# Where the application is most of it, so that nginx's own answer says nothing: in these × is to the module.
LONG = ("stream", "cpu1ms", "django", "djangodb")
# On the front page: the least that there is, and what most sites run; what takes much more would hide the rest.
FRONT = ("return-200", "module", "module-threads8", "fastpysgi", "bjoern", "granian", "uwsgi", "gunicorn-gthread")
# Of the overview; more would not be read.
SERIES = (("return-200", "nginx", "D"), ("fastpysgi", "blue", "o"), ("bjoern", "teal", "s"), ("granian", "violet", "^"),
          ("uwsgi", "pink", "v"), ("gunicorn-gthread", "olive", "P"))

PSS = "MiB, PSS of all processes of the server"


class Nothing(Exception):
    """There are no figures for a picture."""


def medians(results, workload, key="cpu_us"):
    """{contender: median}, the least first."""
    cells = results["workloads"].get(workload, {}).get("cells", {})
    found = {name: statistics.median(cell[key] for cell in rows) for name, rows in cells.items() if rows}
    if not any(map(is_ours, found)):
        raise Nothing
    return dict(sorted(found.items(), key=lambda item: item[1]))


def kind(contender):
    return "ours" if is_ours(contender) else "nginx" if is_nginx(contender) else "peer"


def said(value):
    return f"{value:,.2f}" if value < 3 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def cost(results, workload, contenders=None):
    """Bars of CPU time for a request."""
    found = medians(results, workload)
    ours = next(name for name in (OURS, *found) if name in found and is_ours(name))
    against = ours if workload in LONG or REFERENCE not in found else REFERENCE
    rows = []
    for name, value in found.items():
        if contenders is None or name in contenders:
            times = "" if name in (against, REFERENCE) else f" · {times_of(results, workload, name, against)} ×"
            rows.append((title(name), kind(name), value, f"{said(value)} µs{times}", None))
    rival = next((name for name in found if is_peer(name)), None)
    text = f"{workload}: {said(found[ours])} µs of CPU a request"
    if rival:
        text += f", {title(rival)} {said(found[rival])} µs"
    what = results["workloads"][workload]["what"]
    beside = "nginx's return 200" if against == REFERENCE else title(against)
    return text, drawing.bars(text, f"{what}; × is the ratio to {beside}",
                              "µs of CPU time, all processes of the server, median of the rounds", rows)


def times_of(results, workload, name, against):
    """The ratio as the tables have it: round by round."""
    value = statistics.median(ratio(cell(workload, "cpu_us"), name, against)(results)[0])
    return f"{value:,.2f}" if value < 10 else said(value)


def front(results):
    found = medians(results, "hello")
    text, figure = cost(results, "hello", FRONT)
    if OURS in found and REFERENCE in found:
        times = times_of(results, "hello", OURS, REFERENCE)
        text = f"Python in nginx: {times} times the CPU time of nginx's own answer"
        figure.texts[0].set_text(text)
    return text, figure


def overview(results):
    lines, values = [], {name: {} for name, *_ in SERIES}
    for workload, entry in results["workloads"].items():
        try:
            found = medians(results, workload)
        except Nothing:
            continue
        if entry["workers"] > 1:
            continue
        ours = found.get(OURS) or next(value for name, value in found.items() if is_ours(name))
        lines.append(workload)
        for name in values:
            # What nginx answers at once is nothing to compare long work with.
            if name in found and not (name == REFERENCE and found[name] < ours / 20):
                values[name][workload] = found[name] / ours
    if not lines:
        raise Nothing
    text = "CPU time of other servers, as multiples of the module's"
    series = [(title(name).removeprefix("nginx itself, "), hue, marker, values[name])
              for name, hue, marker in SERIES if values[name]]
    return text, drawing.dots(
        text, "right of the orange line: more CPU time than nginx mod_wsgi for the same request; left of it: less",
        "times the CPU time of nginx mod_wsgi, logarithmic", lines, series)


def latency(results, workload):
    low, high = medians(results, workload, "p50_ms"), medians(results, workload, "p99_ms")
    order = sorted((name for name in low if not is_nginx(name)), key=high.get)
    ours = next(name for name in order if is_ours(name))
    text = f"{workload}: 99 of 100 answers within {said(high[ours])} ms"
    rows = [(title(name), kind(name), low[name], high[name], f"{said(low[name])}–{said(high[name])}")
            for name in order]
    what = results["workloads"][workload]["what"]
    return text, drawing.spans(text, f"{what}; the dot is the median, the end the 99th percentile",
                               "ms until the answer, logarithmic", rows)


def scene(results, name, *keys):
    """{contender: [the median of each of these figures, in MiB]}"""
    rows = results["scenes"].get(name, {}).get("rows", {})
    if not any(map(is_ours, rows)):
        raise Nothing
    return {contender: [statistics.median(row[key] for row in found) / 1024 for key in keys]
            for contender, found in rows.items()}


def memory(results):
    found = scene(results, "memory", "idle_kib", "after_kib")
    rows = [(title(name), kind(name), idle, f"{idle:,.1f} MiB", after)
            for name, (idle, after) in sorted(found.items(), key=lambda item: item[1])]
    text = "Memory of a server with one worker and hello"
    if OURS in found and REFERENCE in found:
        more = found[OURS][0] - found[REFERENCE][0]
        text = f"Memory: {more:,.1f} MiB more than nginx alone, with Python in it"
    return text, drawing.bars(text, "one worker, hello; pale: after a load on 64 connections", PSS, rows)


def slowreaders(results):
    found = scene(results, "slowreaders", "before_kib", "during_kib")
    more = {name: during - before for name, (before, during) in found.items()}
    rows = []
    for name in sorted(found, key=more.get):
        stalled = any("stalled" in row["during"] for row in results["scenes"]["slowreaders"]["rows"][name])
        before, during = found[name]
        rows.append((title(name), kind(name), before, f"{more[name]:+,.1f}{' · stalled' if stalled else ''}", during))
    text = "Memory beside 200 slow readers of one 1 MiB body"
    if OURS in found:
        text += f": {more[OURS]:+,.1f} MiB"
    return text, drawing.bars(text, "pale: what a server takes while they read", PSS, rows)


def charts():
    """{name of the file: what draws it}"""
    return {
        "hello": front, "overview": overview,
        **{name: lambda results, name=name: cost(results, name) for name in BARS},
        **{name: lambda results, name=name: latency(results, name) for name in LATENCY},
        "memory": memory, "slowreaders": slowreaders,
    }


def main(source, folder):
    results = json.loads(pathlib.Path(source).read_text())
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in charts().items():
        path = folder / f"{name}.svg"
        try:
            text, figure = draw(results)
        except Nothing:
            path.unlink(missing_ok=True)
            continue
        write(figure, path, text)
        print(path.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
