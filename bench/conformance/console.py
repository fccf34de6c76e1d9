"""What the command says to the person who runs it."""

import sys


class Failed(Exception):
    """The script cannot go on; the text says why."""


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)
