"""Threads as others see them: their names, and what they do at the moment."""

import sys
import threading


def name_thread(name):
    """Names the calling thread, which Python did not make."""
    threading.current_thread().name = name


def stacks(threads):
    """The stacks of these threads (threading.get_ident()), as a list of pairs: a thread and its text."""
    # Imported here, because few workers ever need it.
    import traceback

    frames = sys._current_frames()
    return [(thread, "".join(traceback.format_stack(frames[thread]))) for thread in threads if thread in frames]
