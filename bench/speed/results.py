"""build/bench/results.json: what was measured last, workload by workload.

    {"runs": {when it began: {"machine": {...}, "settings": {...}, "versions": {contender: text}}},
     "workloads": {name: {"what", "reference", "run", "began", "seconds", "workers", "pinned",
                          "cells": {contender: [cell of each round]}}},
     "scenes": {name: {"what", "run", "began", "seconds", "rows", ...}},
     "missing": [{"workload", "contender", "why"}]}

A cell has cpu_us, user_us, sys_us (of the server, for each request), rps, p50_ms, p99_ms, max_ms, requests, others
(cores that something else used meanwhile) and pss_kib (afterwards). A run replaces the workloads and scenes it
measures, each as a whole, since only what was measured in turns can be compared; "run" says in which run that was.
`seconds` is how long it took.

What only tries something is kept apart, in results-trial.json: a run with some of the servers, or with fewer rounds
than there are in results.json. So is a run with several workers, in results-2.json.
"""

import datetime
import json
import os
import platform

from .machine import cpu_model
from .settings import OUT

STANDING = OUT / "results.json"
PARTS = ("workloads", "scenes")


def load(path):
    """What is in a file, or nothing."""
    found = json.loads(path.read_text()) if path.exists() else {}
    # Results of before runs were told apart say too little of themselves.
    return found if "runs" in found else {"runs": {}, "workloads": {}, "scenes": {}, "missing": []}


def now():
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def file_for(options):
    """Where the figures of a run with these options go."""
    if options.workers > 1:
        return OUT / f"results-{options.workers}.json"
    return OUT / "results-trial.json" if is_trial(options, load(STANDING)) else STANDING


def is_trial(options, standing):
    """Whether it is worth less than what is there. A run of everything is not."""
    if options.everything:
        return False
    return bool(options.peers) or any(
        options.rounds < run["settings"]["rounds"] or options.seconds < run["settings"]["seconds"]
        or options.connections != run["settings"]["connections"] for run in standing["runs"].values())


def rest(results, names):
    """Those of `names` that the last run of everything did not come to, or that could not be measured at all."""
    whole = max((begun for begun, run in results["runs"].items() if run["settings"]["everything"]), default="")
    measured = {name: entry["run"] for part in PARTS for name, entry in results[part].items()}
    return [name for name in names if measured.get(name, "") < whole or name not in measured]


class Results:
    def __init__(self, path, place, options, names):
        """`names` are all workloads and scenes, in their order."""
        self.path, self.names = path, list(names)
        self.all = load(path)
        self.run = self.began = now()
        self.all["runs"][self.run] = {
            "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(),
                        "pinned": not place.server_cores & place.load_cores, "load_average": os.getloadavg()[0]},
            "settings": {"rounds": options.rounds, "seconds": options.seconds, "workers": options.workers,
                         "connections": options.connections, "everything": options.everything},
            "versions": {}}

    def begin(self, name):
        """What was there of it is gone, also if it cannot be measured now; what is missing will be found out again."""
        self.began = now()
        self.all["missing"] = [row for row in self.all["missing"] if row["workload"] != name]
        for part in PARTS:
            self.all[part].pop(name, None)

    def missing(self, name, contender, why):
        self.all["missing"].append({"workload": name, "contender": contender, "why": why})

    def versions(self, found):
        self.all["runs"][self.run]["versions"].update(found)

    def workload(self, workload, place, workers, cells):
        self.keep("workloads", workload.name, {
            "what": workload.what, "reference": workload.reference, "workers": workers,
            "pinned": not place.server_cores & place.load_cores, "cells": cells})

    def scene(self, name, found):
        self.keep("scenes", name, found)

    def keep(self, part, name, found):
        begun = datetime.datetime.fromisoformat(self.began)
        took = (datetime.datetime.now().astimezone() - begun).total_seconds()
        self.all[part][name] = {**found, "run": self.run, "began": self.began, "seconds": round(took, 1)}
        self.save()

    def save(self):
        """At once whole: a run that is interrupted leaves what it has measured."""
        for part in PARTS:
            self.all[part] = {name: self.all[part][name] for name in self.names if name in self.all[part]}
        used = {entry["run"] for part in PARTS for entry in self.all[part].values()} | {self.run}
        self.all["runs"] = {begun: run for begun, run in sorted(self.all["runs"].items()) if begun in used}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.all, indent=1) + "\n")
        part.replace(self.path)

    def complete(self):
        """Whether every workload and scene has been tried, in whichever run."""
        tried = {row["workload"] for row in self.all["missing"] if row["contender"] == "all"}
        return all(name in self.all["workloads"] or name in self.all["scenes"] or name in tried for name in self.names)
