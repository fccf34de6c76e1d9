"""Virtual environments that tests use: made once, kept under build/tests."""

import fcntl
import hashlib
import shutil
import subprocess
import sys

from .nginx import BUILD, PYTHON, ROOT


def frameworks():
    """A Python of the tested version that has what the examples import: the one of this test run, if it fits."""
    probe = "import sys, django, flask, psycopg_pool, twisted; print(*sys.version_info[:2])"
    wanted = subprocess.run([PYTHON, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True,
                            text=True, check=True).stdout
    if subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout == wanted:
        return sys.executable
    return str(environment("examples", ROOT / "examples" / "requirements.txt") / "bin/python")


def environment(name, requirements):
    """The folder of an environment of the tested Python that holds what a requirements file asks for."""
    version = subprocess.run([PYTHON, "-c", "import platform; print(platform.python_version())"],
                             capture_output=True, text=True, check=True).stdout.strip()
    stamp = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = BUILD / "tests" / f"venv-{name}-{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Several test processes may want it at the same time.
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "complete"
        if not (done.exists() and done.read_text() == stamp):
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([PYTHON, "-m", "venv", str(folder)], check=True, capture_output=True)
            installed = subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet",
                                        "--only-binary", ":all:", "-r", str(requirements)],
                                       capture_output=True, text=True)
            if installed.returncode:
                raise RuntimeError(f"pip could not install {requirements.name}:\n{installed.stderr}")
            done.write_text(stamp)
    return folder
