"""build/bench-venv: the environment with the database drivers and the servers that benchmarks compare with."""

import shutil
import subprocess
import sys

from .settings import HERE, ROOT, Failed, setting

VENV = ROOT / "build" / "bench-venv"
REQUIREMENTS = HERE / "requirements.txt"


def environment():
    """Its Python, of the version that the module was built for. Made once, and again when requirements change."""
    base = setting("WSGI_PYTHON", default="/usr/bin/python3")
    version = subprocess.run([base, "-VV"], capture_output=True, text=True, check=True).stdout
    wanted = version + REQUIREMENTS.read_text()
    python, filled = VENV / "bin" / "python", VENV / "filled"
    if filled.exists() and filled.read_text() == wanted:
        return python
    print(f"making {VENV.relative_to(ROOT)} from PyPI", file=sys.stderr, flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([base, "-m", "venv", str(VENV)], check=True)
    done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                           str(REQUIREMENTS)], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"pip could not install {REQUIREMENTS.relative_to(ROOT)}:\n{done.stderr}")
    filled.write_text(wanted)
    return python


def version_of(name):
    """Of a package there."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([str(VENV / "bin" / "python"), "-c", code], capture_output=True, text=True,
                          check=True).stdout.strip()
