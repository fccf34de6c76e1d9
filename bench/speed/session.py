"""One run of `make bench`: workload by workload, all contenders at the same time and in turns."""

import contextlib
import os
import statistics
import subprocess
import sys
import time

from peers import CONTENDERS, OURS, Place, Setup, together
from postgres_app import SETUP

from .database import database
from .environment import BENCH, python_with
from .load import H2LOAD, WRK, ask, need
from .results import Results, file_for, load, rest
from .rounds import DISTURBED, in_turn, measured
from .settings import Failed
from .workloads import WORKLOADS

# Seconds that a cell, and the start and end of a server, take beside the load: for the estimate only.
BESIDE, START = 0.1, 0.5
# What BENCH may hold besides names: what a run of everything that was interrupted has not come to.
REST = "rest"
# Of one server or of one workload, which do not end the run.
FAILURES = (Failed, OSError, subprocess.SubprocessError)
# So many answers of each server before the first round.
WARM_UP = 20
# So many rounds until the servers are started anew. Where their memory comes to lie decides over a tenth of the CPU
# time, by chance, for as long as they run.
ROUNDS_OF_A_START = 2


class Session:
    """What scenes get, too: `place`, `options`, `chosen()`, `missing()` and `say()`."""

    def __init__(self, options, scenes):
        """`scenes`: {name: (what measures it, what estimates its seconds)}, each called with this."""
        self.options, self.scenes = options, scenes
        # Workloads that have workers of their own are beside those that have one.
        self.known = [*(name for name, workload in WORKLOADS.items() if options.workers == 1 or not workload.workers),
                      *scenes]
        self.check_names()
        need(WRK, H2LOAD)
        path = file_for(options)
        self.asked = set(options.bench or self.known)
        if REST in self.asked:
            self.asked |= set(rest(load(path), self.known))
        # Before this process has only one core itself.
        self.places = {workers: Place.here(workers) for workers in {options.workers, *map(self.workers, WORKLOADS)}}
        self.place = self.places[options.workers]
        # Before anything is measured, not in between.
        for kind in [*map(CONTENDERS.get, self.chosen(CONTENDERS)), *map(WORKLOADS.get, self.workloads())]:
            for package in kind.packages:
                BENCH.why_missing(package)
        self.results = Results(path, self.place, options, self.known)

    def check_names(self):
        for given, known, what in ((self.options.bench, (*self.known, REST), "BENCH"),
                                   (self.options.peers, CONTENDERS, "PEERS")):
            if unknown := [name for name in given if name not in known]:
                raise Failed(f"{what} may hold {', '.join(known)}, not {' '.join(unknown)}")

    def run(self):
        scenes = [name for name in self.scenes if name in self.asked]
        self.say(f"about {self.estimate(scenes) / 60:.0f} minutes for {' '.join([*self.workloads(), *scenes])}")
        for name in self.workloads():
            self.results.begin(name)
            try:
                self.measure(WORKLOADS[name])
            except FAILURES as why:
                self.missing(name, "all", str(why))
        os.sched_setaffinity(0, self.place.load_cores)
        for name in scenes:
            self.say(name)
            self.results.begin(name)
            measure, _ = self.scenes[name]
            try:
                self.results.scene(name, measure(self))
            except FAILURES as why:
                self.missing(name, "all", str(why))
        self.results.save()

    def workloads(self):
        """The names of those that this run asks for."""
        return [name for name in WORKLOADS if name in self.asked]

    def workers(self, name):
        return WORKLOADS[name].workers or self.options.workers

    def estimate(self, scenes):
        """Seconds for the workloads and these scenes."""
        cells = self.options.rounds * (self.options.seconds + BESIDE) + len(self.starts()) * START
        return sum([*(len(self.chosen(WORKLOADS[name].contenders)) * cells for name in self.workloads()),
                    *(self.scenes[name][1](self) for name in scenes)])

    def chosen(self, contenders):
        """Those among them that this run asks for; ours always."""
        ours = {contender.name for contender in OURS}
        return [name for name in contenders
                if not self.options.peers or name in self.options.peers or name in ours]

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def missing(self, name, contender, why):
        why = why.strip() or "it does not say why"
        self.say(f"  {contender} is left out: {why.splitlines()[0]}")
        self.results.missing(name, contender, why)

    def measure(self, workload):
        self.say(f"{workload.name}: {workload.what}")
        workers = self.workers(workload.name)
        place = self.places[workers]
        if workload.workers > len(place.server_cores):
            raise Failed(f"it takes {workload.workers} cores")
        # The load generator inherits it.
        os.sched_setaffinity(0, place.load_cores)
        python_with(*workload.packages)
        with contextlib.ExitStack() as stack:
            beside, env = None, {}
            if workload.database:
                beside = stack.enter_context(database(place.load_cores, SETUP))
                env["BENCH_DATABASE"] = str(beside.folder)
            if workload.file:
                env["BENCH_FILE"] = str(workload.static())
            cells = {name: [] for name in self.chosen(workload.contenders)}
            begun = time.monotonic()
            for turns in self.starts():
                with together(list(cells), place, self.setup(workload, env)) as (servers, missing):
                    missing.update(self.verify(workload, servers))
                    for name, why in missing.items():
                        self.missing(workload.name, name, why)
                        del cells[name]
                    self.results.versions({name: server.version() for name, server in servers.items()})
                    self.rounds(workload, servers, beside, turns, cells)
                left = (time.monotonic() - begun) / (turns[-1] + 1) * (self.options.rounds - turns[-1] - 1)
                self.say(f"  {turns[-1] + 1} of {self.options.rounds} rounds, {left:.0f} s left")
            self.tell(cells)
            self.results.workload(workload, place, workers, cells)

    def starts(self):
        """The rounds of each start of the servers."""
        rounds = range(self.options.rounds)
        return [rounds[first:first + ROUNDS_OF_A_START] for first in rounds[::ROUNDS_OF_A_START]]

    def setup(self, workload, env):
        visitors = workload.connections or self.options.connections
        return Setup(app=workload.app, threads=workload.threads, workers=self.workers(workload.name), env=env,
                     tls=workload.tls, unbuffered=workload.unbuffered, path=workload.path, static=workload.static(),
                     visitors=visitors, connections=max(1024, 4 * visitors))

    def verify(self, workload, servers):
        """Takes those out that answer something else, {name: why}; and warms the others up."""
        wrong = {}
        for name, server in list(servers.items()):
            url = server.url(workload.path)
            try:
                status, body = ask(url + "?crc" if workload.post else url, workload.body(), workload.headers)
                wanted = b"Hello, World!" if name == "return-200" else workload.answer
                if (status, body) != (200, wanted):
                    raise Failed(f"it answers {status} with {len(body)} bytes, {body[:40]!r}, not {len(wanted)} bytes, "
                                 f"{wanted[:40]!r}")
                for _ in range(WARM_UP if workload.by != "upload" else 0):
                    ask(url, workload.body(), workload.headers)
            except FAILURES as why:
                wrong[name] = str(why)
                servers.pop(name).stop()
        return wrong

    def rounds(self, workload, servers, beside, turns, cells):
        """Adds to the cells of each contender."""
        for turn in turns:
            for name in in_turn(list(servers), turn):
                try:
                    cells[name].append(self.calm(workload, servers[name], beside))
                except FAILURES as why:
                    self.missing(workload.name, name, str(why))
                    servers.pop(name).stop()
                    del cells[name]

    def tell(self, cells):
        for name, found in cells.items():
            self.say(f"  {name:17} {statistics.median(cell['cpu_us'] for cell in found):10,.2f} µs "
                     f"{statistics.median(cell['rps'] for cell in found):10,.0f}/s")

    def calm(self, workload, server, beside):
        """A cell; if it failed or something disturbed it, another one, and the calmer of the two."""
        cells, problem = [], None
        for _ in range(2):
            try:
                cells.append(self.cell(workload, server, beside))
            except FAILURES as error:
                problem = error
            if cells and cells[-1]["others"] <= DISTURBED:
                break
        if not cells:
            raise problem
        return min(cells, key=lambda cell: cell["others"])

    def cell(self, workload, server, beside):
        options = self.options
        url = server.url(workload.path)
        found = measured(server, lambda: workload.load(url, options.connections, options.seconds), beside)
        count = found["requests"]
        if not count or not found["cpu"]:
            raise Failed(f"{count} requests took {found['cpu']} s of CPU time: a round is too short")
        return {"cpu_us": found["cpu"] / count * 1e6, "user_us": found["user"] / count * 1e6,
                "sys_us": found["system"] / count * 1e6, "rps": count / found["seconds"],
                "p50_ms": found["p50_us"] / 1000, "p99_ms": found["p99_us"] / 1000, "max_ms": found["max_us"] / 1000,
                "requests": count, "others": found["others"], "pss_kib": server.pss()}
