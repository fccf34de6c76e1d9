"""Threads of the module, as Python sees them: their names, and their stacks for the watchdog."""

import sys
import threading
import traceback


def name_thread(name):
    """Names the calling thread, which Python did not make."""
    threading.current_thread().name = name


def stack(thread):
    """The lines of the stack of a thread (its threading.get_ident()), innermost last."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return []
    return [line for entry in traceback.format_stack(frame) for line in entry.rstrip("\n").split("\n")]
