"""The environment of the other servers: build/conformance-venv, with what requirements.txt lists."""

import json
import pathlib
import shutil
import subprocess

from conformance.console import say
from harness import nginx as ngx

REQUIREMENTS = pathlib.Path(__file__).resolve().parent / "requirements.txt"
VENV = ngx.BUILD / "conformance-venv"


def requirements():
    return dict(line.split("==") for line in REQUIREMENTS.read_text().split())


def make():
    """Makes build/conformance-venv or completes it; {name of a server: why it cannot run}."""
    python = VENV / "bin" / "python"
    done = VENV / "installed.json"
    wanted = requirements()
    base = subprocess.run([ngx.PYTHON, "-VV"], capture_output=True, text=True, check=True).stdout
    have = json.loads(done.read_text()) if done.exists() else {}
    if have.get("base") != base:
        say(f"making {VENV.relative_to(ngx.ROOT)}")
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([ngx.PYTHON, "-m", "venv", str(VENV)], check=True, stdin=subprocess.DEVNULL)
        have = {"base": base}
    missing = {}
    for name, version in wanted.items():
        if have.get(name) == version:
            continue
        say(f"installing {name} {version} from PyPI")
        # The limit is for uWSGI and bjoern, which are compiled; everything is over in a minute or two.
        got = subprocess.run(["timeout", "600", python, "-m", "pip", "install", "--quiet",
                              "--disable-pip-version-check", f"{name}=={version}"],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if got.returncode == 0:
            have[name] = version
            done.write_text(json.dumps(have))
            continue
        (VENV / f"{name}.log").write_text(got.stdout + got.stderr)
        missing[name] = f"pip could not install it: {(VENV / name).relative_to(ngx.ROOT)}.log tells why"
        if name == "bjoern" and "ev.h" in got.stdout + got.stderr:
            missing[name] = "it is compiled and needs libev: apt-get install libev-dev"
    return missing
