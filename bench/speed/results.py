"""build/bench/results.json: what was measured last, workload by workload.

    {"machine": {...}, "settings": {...}, "versions": {contender: text},
     "workloads": {name: {"what", "reference", "cells": {contender: [cell of each round]}}},
     "scenes": {name: {"what", ...}},
     "missing": [{"workload", "contender", "why"}]}

A cell has cpu_us, user_us, sys_us (of the server, for each request), rps, p50_ms, p99_ms, max_ms, requests, others
(cores that something else used meanwhile) and pss_kib (afterwards). A run replaces the workloads and scenes it
measures, each as a whole, since only what was measured in turns can be compared.
"""

import datetime
import json
import os
import platform

from .machine import cpu_model
from .settings import OUT


class Results:
    def __init__(self, place, options):
        # Figures of several workers are not mixed with those of one.
        self.path = OUT / ("results.json" if options.workers == 1 else f"results-{options.workers}.json")
        empty = {"machine": {}, "settings": {}, "versions": {}, "workloads": {}, "scenes": {}, "missing": []}
        self.all = {**empty, **(json.loads(self.path.read_text()) if self.path.exists() else {})}
        self.all["machine"] = {
            "cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(),
            "pinned": not place.server_cores & place.load_cores, "load_average": os.getloadavg()[0],
            "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds")}
        self.all["settings"] = {"rounds": options.rounds, "seconds": options.seconds, "workers": options.workers,
                                "connections": options.connections}

    def begin(self, name):
        """What is missing here will be found out again."""
        self.all["missing"] = [row for row in self.all["missing"] if row["workload"] != name]

    def missing(self, name, contender, why):
        self.all["missing"].append({"workload": name, "contender": contender, "why": why})

    def versions(self, found):
        self.all["versions"].update(found)

    def workload(self, workload, cells):
        self.all["workloads"][workload.name] = {"what": workload.what, "reference": workload.reference, "cells": cells}
        self.save()

    def scene(self, name, found):
        self.all["scenes"][name] = found
        self.save()

    def save(self):
        """At once whole: a run that is interrupted leaves what it has measured."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.all, indent=1) + "\n")
        part.replace(self.path)
