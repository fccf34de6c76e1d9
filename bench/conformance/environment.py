"""The environment of the other servers: build/conformance-venv, with what requirements.txt lists."""

import pathlib

from harness import nginx as ngx
from speed.environment import fill, wanted

REQUIREMENTS = pathlib.Path(__file__).resolve().parent / "requirements.txt"
VENV = ngx.BUILD / "conformance-venv"


def requirements():
    return {name: line.partition("==")[2] for name, line in wanted(REQUIREMENTS).items()}


def make():
    """Makes build/conformance-venv or completes it; {name of a server: why it cannot run}."""
    return fill(VENV, REQUIREMENTS, ngx.PYTHON)
