"""An environment of Python with what a benchmark compares: pinned in a requirements.txt, installed when it is needed.

build/bench-venv has the servers of `make bench` and what they all run; conformance/ has one of its own.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys

from .settings import HERE, ROOT, Failed, setting

# Some are compiled: a minute or two, not more.
LONGEST = 600
# What a compiler says, and what to do about it.
KNOWN = {"ev.h": "it is compiled and needs libev: apt-get install libev-dev",
         "apxs": "it is compiled and needs Apache: apt-get install apache2-bin apache2-dev",
         "Python.h": "it is compiled and needs the headers of Python: apt-get install python3-dev"}


class Environment:
    """A folder made by `python -m venv`; what cannot be installed is missing, and breaks nothing."""

    def __init__(self, folder, requirements, base):
        self.folder, self.base = folder, base
        lines = [line for line in requirements.read_text().split("\n") if line and not line.startswith("#")]
        # {"uvicorn": "uvicorn[standard]==0.54.0"}
        self.wanted = {re.match(r"[\w.-]+", line).group(0): line for line in lines}
        self.missing = {}

    @functools.cached_property
    def installed(self):
        """{name: requirement}; makes the environment if there is none for this Python."""
        done = self.folder / "installed.json"
        base = subprocess.run([self.base, "-VV"], capture_output=True, text=True, check=True).stdout
        have = json.loads(done.read_text()) if done.exists() else {}
        if have.get("base") == base:
            return have
        say(f"making {self.folder.relative_to(ROOT)}")
        shutil.rmtree(self.folder, ignore_errors=True)
        made = subprocess.run([self.base, "-m", "venv", str(self.folder)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        if made.returncode:
            raise Failed(f"{self.base} cannot make an environment:\n{made.stdout}{made.stderr}")
        return {"base": base}

    @property
    def python(self):
        return self.installed and self.folder / "bin" / "python"

    def why_missing(self, name):
        """None if it is there, installed just now perhaps."""
        requirement = self.wanted[name]
        if self.installed.get(name) != requirement and name not in self.missing:
            say(f"installing {requirement} from PyPI")
            if why := self.install(name, requirement):
                self.missing[name] = why
            else:
                self.installed[name] = requirement
                (self.folder / "installed.json").write_text(json.dumps(self.installed, indent=1) + "\n")
        return self.missing.get(name)

    def install(self, name, requirement):
        """None, or why not."""
        log = self.folder / f"{name}.log"
        # Not what was once compiled here for another Python 3.11: uWSGI is linked to the library of one.
        command = [str(self.python), "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check",
                   requirement]
        with open(log, "w") as out:
            try:
                code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=LONGEST,
                                      env={**os.environ, "MAKEFLAGS": f"-j{os.cpu_count()}"}).returncode
            except subprocess.TimeoutExpired:
                return f"it was not installed within {LONGEST // 60} minutes: {log.relative_to(ROOT)}"
        if not code:
            return None
        said = log.read_text(errors="replace")
        for sign, why in KNOWN.items():
            if re.search(rf"{re.escape(sign)}\W.*(No such file|not found|missing)", said, re.I):
                return why
        return f"pip could not install it: {log.relative_to(ROOT)} tells why"


BENCH = Environment(ROOT / "build" / "bench-venv", HERE / "requirements.txt",
                    setting("WSGI_PYTHON", default="/usr/bin/python3"))


def python_with(*packages):
    """The Python of build/bench-venv, which has these packages."""
    if missing := [f"{name}: {why}" for name in packages if (why := BENCH.why_missing(name))]:
        raise Failed("; ".join(missing))
    return BENCH.python


@functools.lru_cache(None)
def version_of(name):
    """Of a package there."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([str(BENCH.python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def say(text):
    print(text, file=sys.stderr, flush=True)
