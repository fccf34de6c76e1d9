"""build/bench-venv: the environment with the servers that benchmarks compare with, and with what all of them run."""

import functools
import json
import re
import shutil
import subprocess
import sys

from .settings import HERE, ROOT, Failed, setting

VENV = ROOT / "build" / "bench-venv"
REQUIREMENTS = HERE / "requirements.txt"
# Some are compiled, and one of them is a whole Apache: minutes, not more.
LONGEST = 900
# What a compiler says, and what to do about it.
KNOWN = {"ev.h": "it is compiled and needs libev: apt-get install libev-dev",
         "Python.h": "it is compiled and needs the headers of Python: apt-get install python3-dev"}


def wanted(path):
    """{"uvicorn": "uvicorn[standard]==0.54.0"}"""
    lines = [line for line in path.read_text().split("\n") if line and not line.startswith("#")]
    return {re.match(r"[\w.-]+", line).group(0): line for line in lines}


def fill(venv, requirements, python):
    """Makes an environment or completes it, package by package; {name: why it is not there}."""
    done = venv / "installed.json"
    base = subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout
    have = json.loads(done.read_text()) if done.exists() else {}
    if have.get("base") != base:
        say(f"making {venv.relative_to(ROOT)}")
        shutil.rmtree(venv, ignore_errors=True)
        made = subprocess.run([python, "-m", "venv", str(venv)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True)
        if made.returncode:
            raise Failed(f"{python} cannot make an environment:\n{made.stdout}{made.stderr}")
        have = {"base": base}
    missing = {}
    for name, requirement in wanted(requirements).items():
        if have.get(name) == requirement:
            continue
        say(f"installing {requirement} from PyPI")
        if why := install(venv, name, requirement):
            missing[name] = why
        else:
            have[name] = requirement
            done.write_text(json.dumps(have, indent=1) + "\n")
    return missing


def install(venv, name, requirement):
    """None, or why not."""
    log = venv / f"{name}.log"
    # Not what was once compiled here for another Python 3.11: uWSGI is linked to the library of one.
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check",
               requirement]
    with open(log, "w") as out:
        try:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                  timeout=LONGEST).returncode
        except subprocess.TimeoutExpired:
            return f"it was not installed within {LONGEST // 60} minutes: {log.relative_to(ROOT)}"
    if not code:
        return None
    said = log.read_text(errors="replace")
    for sign, why in KNOWN.items():
        if re.search(rf"{re.escape(sign)}: No such file", said):
            return why
    return f"pip could not install it: {log.relative_to(ROOT)} tells why"


@functools.lru_cache(None)
def environment():
    """{name of a package: why it is missing} in build/bench-venv, which is made or completed by the first call."""
    return fill(VENV, REQUIREMENTS, setting("WSGI_PYTHON", default="/usr/bin/python3"))


def python_with(*packages):
    """Its Python, which has these packages."""
    missing = environment()
    for name in packages:
        if name in missing:
            raise Failed(f"{name}: {missing[name]}")
    return VENV / "bin" / "python"


def why_missing(package):
    """None if it is there."""
    return environment().get(package)


@functools.lru_cache(None)
def version_of(name):
    """Of a package there."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([str(VENV / "bin" / "python"), "-c", code], capture_output=True, text=True,
                          check=True).stdout.strip()


def say(text):
    print(text, file=sys.stderr, flush=True)
