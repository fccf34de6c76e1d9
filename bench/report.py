#!/usr/bin/env python3
"""Writes docs/benchmarks.md and the pictures in docs/benchmarks/ from build/bench/results.json.

    bench/report.py                 # of what was measured last; a run of everything does it by itself

The tables and the claims (speed/claims.py) are made from the figures; what is written by hand is in
reporting/benchmarks.md. The pictures are drawn by matplotlib in build/bench-venv.
"""

import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path[:1] = [os.path.dirname(os.path.abspath(__file__))]
from reporting import tables  # noqa: E402
from speed import claims  # noqa: E402
from speed.environment import python_with  # noqa: E402
from speed.settings import HERE, OUT, ROOT, Failed  # noqa: E402

RESULTS = OUT / "results.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PICTURES = ROOT / "docs" / "benchmarks"


def main():
    if not RESULTS.exists():
        raise Failed(f"there is no {RESULTS}: run make bench first")
    results = json.loads(RESULTS.read_text())
    # By its own process, because what runs this file need not have matplotlib.
    command = [python_with("matplotlib"), "-B", "-m", "reporting.charts", RESULTS, PICTURES]
    drawn = subprocess.run(list(map(str, command)), cwd=HERE, stdout=subprocess.PIPE, text=True)
    if drawn.returncode:
        raise Failed("the pictures could not be drawn")
    DOCUMENT.write_text(page(results, drawn.stdout.split()))
    print(f"docs/{DOCUMENT.name} is written")


def page(results, pictures):
    found = claims.verdicts(results)
    scenes = {name: scene for name, scene in results["scenes"].items() if name in tables.SCENES}
    parts = {
        "MACHINE": tables.machine(results), "CLAIMS": tables.claims(found), "BROKEN": tables.broken(found),
        "LOST": tables.lost(results), "OVERVIEW": picture("overview", "CPU time in all workloads", pictures),
        "WORKLOADS": sections(results["workloads"], pictures, lambda name, _: tables.workload(results, name)),
        "SCENES": sections(scenes, pictures, lambda name, scene: tables.SCENES[name](scene["rows"])),
        "MISSING": tables.missing(results), "VERSIONS": tables.versions(results),
    }
    text = (HERE / "reporting" / "benchmarks.md").read_text()
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def sections(parts, pictures, table):
    """A heading, a line, a picture if there is one, and a table for each."""
    texts = []
    for name, part in parts.items():
        shown = [picture(name, part["what"], pictures)] if f"{name}.svg" in pictures and name != "hello" else []
        texts.append("\n\n".join([f"### {name}", part["what"] + ".", *shown, table(name, part)]))
    return "\n\n".join(texts)


def picture(name, text, pictures):
    return f"![{text}](benchmarks/{name}.svg)" if f"{name}.svg" in pictures else ""


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"bench: {failed}")
