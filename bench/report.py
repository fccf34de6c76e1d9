#!/usr/bin/env python3
"""Writes docs/benchmarks.md and the pictures in docs/benchmarks/ from build/bench/results.json.

    bench/report.py                         # of what was measured last; a run of everything does it by itself
    bench/report.py RESULTS FOLDER          # of another file, to FOLDER/benchmarks.md: to look at

The tables and the claims (speed/claims.py) are made from the figures; what is written by hand is in
reporting/benchmarks.md. The pictures are drawn by matplotlib in build/bench-venv.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path[:1] = [os.path.dirname(os.path.abspath(__file__))]
from reporting import losses, tables  # noqa: E402
from speed import claims  # noqa: E402
from speed.environment import python_with  # noqa: E402
from speed.results import STANDING  # noqa: E402
from speed.settings import HERE, ROOT, Failed  # noqa: E402


def main(source=STANDING, folder=ROOT / "docs"):
    source, folder = pathlib.Path(source).resolve(), pathlib.Path(folder).resolve()
    if not source.exists():
        raise Failed(f"there is no {source}: run make bench first")
    results = json.loads(source.read_text())
    # By its own process, because what runs this file need not have matplotlib.
    command = [python_with("matplotlib"), "-B", "-m", "reporting.charts", source, folder / "benchmarks"]
    drawn = subprocess.run(list(map(str, command)), cwd=HERE, stdout=subprocess.PIPE, text=True)
    if drawn.returncode:
        raise Failed("the pictures could not be drawn")
    document = folder / "benchmarks.md"
    document.write_text(page(results, drawn.stdout.split()))
    print(f"{document} is written")


def page(results, pictures):
    found = claims.verdicts(results)
    often = len({entry["run"] for entry in tables.measured_parts(results).values()}) > 1

    def workloads(chosen):
        part = {name: entry for name, entry in results["workloads"].items() if chosen(entry)}
        return sections(part, pictures, lambda name, _: tables.workload(results, name), often)

    parts = {
        "MACHINE": tables.machine(results), "CLAIMS": tables.claims(found), "BROKEN": tables.broken(found),
        "LOST": losses.of_cpu(results), "ELSEWHERE": losses.elsewhere(results),
        "HELLO": picture("hello", "CPU time of a small answer", pictures),
        "OVERVIEW": picture("overview", "CPU time in all workloads", pictures),
        "WORKLOADS": workloads(lambda entry: entry["workers"] == 1),
        "CORES": cores(results), "WORKERS": workloads(lambda entry: entry["workers"] > 1) or "Not measured.",
        "SCENES": sections(results["scenes"], pictures, lambda name, scene: tables.SCENES[name](scene), often),
        "MISSING": tables.missing(results), "VERSIONS": tables.versions(results),
    }
    text = (HERE / "reporting" / "benchmarks.md").read_text()
    # Where this folder is on the machine is nobody's business.
    return re.sub(r"@([A-Z]+)@", lambda name: parts[name[1]], text).replace(f"{ROOT}/", "")


def sections(parts, pictures, table, often):
    """A heading, a line, a picture if there is one, and a table for each; when, if that was not in the same run."""
    texts = []
    for name, part in parts.items():
        # That of hello is at the top of the page.
        shown = picture(name, f"{name}: {part['what']}", pictures) if name != "hello" else ""
        when = f" Measured {tables.at(part['began'])}." if often else ""
        what = f"{part['what'][0].upper()}{part['what'][1:]}.{when}"
        texts.append("\n\n".join(filter(None, [f"### {name}", what, shown, table(name, part)])))
    return "\n\n".join(texts)


def cores(results):
    """Of what has several workers."""
    if all(entry["pinned"] for entry in results["workloads"].values() if entry["workers"] > 1):
        return "Each worker has a core, and the load generator another one."
    return ("The machine has no core left for the load generator, which shares those of the workers: CPU time can be "
            "compared, requests per second and times say little.")


def picture(name, text, pictures):
    return f"![{text}](benchmarks/{name}.svg)" if f"{name}.svg" in pictures else ""


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Failed as failed:
        sys.exit(f"bench: {failed}")
