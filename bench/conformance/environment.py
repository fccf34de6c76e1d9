"""The environment of the other servers: build/conformance-venv, with what requirements.txt lists."""

import pathlib

from harness import nginx as ngx
from speed.environment import Environment

VENV = ngx.BUILD / "conformance-venv"
HERE = Environment(VENV, pathlib.Path(__file__).resolve().parent / "requirements.txt", ngx.PYTHON)


def requirements():
    return {name: line.partition("==")[2] for name, line in HERE.wanted.items()}


def make():
    """Makes build/conformance-venv or completes it; {name of a server: why it cannot run}."""
    return {name: why for name in HERE.wanted if (why := HERE.why_missing(name))}
