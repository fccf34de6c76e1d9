"""What the library costs that Python is in. The same work is done in turns by

    python3         the interpreter by itself, as gunicorn runs in: Debian's is optimised
    python3-fast    the one of `make python`
    module          the module with the libpython of the system: Debian's is not optimised
    module-fast     the module with the libpython of `make python`

and timed where it is done (bench/apps/flavours.py), so that nothing of a server is in the figures.

Each row has the microseconds of CPU time for one piece of each kind of work. Besides "what" and "rows" there are
    "ratio": {work: {flavour: median of its ratios to python3 in the same round}}
    "versions": {flavour: text}
"""

import contextlib
import os
import pathlib
import statistics
import subprocess

from peers import Setup, together
from peers.contender import APPS, clean_environment
from speed.environment import python_with
from speed.load import ask
from speed.process import die_with_parent
from speed.settings import ROOT, Failed, setting

WORK = ("loop", "django")


class Interpreter:
    """One that runs by itself, with the packages of the folder `packages`."""

    def __init__(self, name, executable, packages, cores):
        self.name, self.executable = name, executable

        def before_exec():
            os.sched_setaffinity(0, cores)
            die_with_parent()

        self.process = subprocess.Popen(
            [executable, APPS / "flavours.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**clean_environment(), "PYTHONPATH": f"{APPS}:{packages}"}, preexec_fn=before_exec)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def measured(self, work):
        self.process.stdin.write(f"{work}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{self.executable} has ended")
        return float(line)

    def version(self):
        said = printed(self.executable, "import platform; print('Python', platform.python_version())")
        return f"{said}; {self.executable}"


class InServer:
    def __init__(self, server):
        self.name, self.server, self.version = server.name, server, server.version

    def measured(self, work):
        status, body = ask(self.server.url(f"/{work}"))
        if status != 200:
            raise Failed(f"{self.name} answers {status} to /{work}:\n{self.server.log_text()[-2000:]}")
        return float(body)


def printed(executable, code):
    return subprocess.run([executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def executables():
    """{flavour: path} of those that are there."""
    fast = pathlib.Path(setting("PYTHON_PREFIX", default=ROOT / "build" / "python")) / "bin" / "python3"
    found = {"python3": pathlib.Path(setting("WSGI_PYTHON", default="/usr/bin/python3")), "python3-fast": fast}
    return {name: path for name, path in found.items() if path.exists()}


def lasts(bench):
    """Seconds: some tenths for each kind of work in each of them."""
    return 4 * len(WORK) * 0.3 * (bench.options.rounds + 1)


def python(bench):
    """The scene; see above."""
    setup = Setup(app="flavours:application")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = printed(python_with("Django"), code)
    with contextlib.ExitStack() as stack:
        servers, missing = stack.enter_context(together(["module", "module-fast"], bench.place, setup))
        for name, why in missing.items():
            bench.missing("python", name, why)
        flavours = [stack.enter_context(Interpreter(name, path, packages, bench.place.server_cores))
                    for name, path in executables().items()]
        if "python3-fast" not in executables():
            bench.missing("python", "python3-fast", "make python has not been run")
        flavours += map(InServer, servers.values())
        rows = measure(bench, flavours)
        found = {work: ratios(rows, work) for work in WORK}
        for work, of in found.items():
            bench.say(f"  {work:7} " + ", ".join(f"{name} {value:.2f} ×" for name, value in of.items()))
        return {
            "what": "CPU time of the same Python code by itself and in the module, with both kinds of libpython",
            "rows": rows, "ratio": found,
            "versions": {one.name: one.version() for one in flavours},
        }


def measure(bench, flavours):
    """{flavour: [{work: microseconds} of each round]}"""
    for one in flavours:
        for work in WORK:
            one.measured(work)              # the first time is for caches
    rows = {one.name: [] for one in flavours}
    for number in range(bench.options.rounds):
        turned = flavours[number % len(flavours):] + flavours[:number % len(flavours)]
        for one in turned:
            rows[one.name].append({})
        for work in WORK:
            for one in turned:
                rows[one.name][-1][work] = one.measured(work)
        bench.say(f"  round {number + 1} of {bench.options.rounds}")
    return rows


def ratios(rows, work):
    """{flavour: the median of its ratios}, each to python3 in the same round."""
    return {name: statistics.median(one[work] / itself[work] for one, itself in zip(mine, rows["python3"]))
            for name, mine in rows.items()}
