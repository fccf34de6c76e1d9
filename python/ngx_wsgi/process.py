"""What is different for Python in a process that belongs to nginx: signals, and the end."""

import _signal
import atexit
import sys


def refuse_signal_handlers():
    """Makes signal.signal() a warning.

    nginx controls its workers by signals; a handler set by an application would take the worker away
    from its master. Apache mod_wsgi does the same.

    It is done below signal.py, which few workers need and which brings enum along.
    """

    def refused(signalnum, handler):
        import signal

        caller = sys._getframe(1)
        if caller.f_globals.get("__name__") == "signal":
            caller = caller.f_back
        try:
            name = signal.Signals(signalnum).name
        except ValueError:
            name = str(signalnum)
        place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        sys.stderr.write(
            f"signal.signal({name}) is refused: nginx owns the signals of its workers (called at {place})\n"
        )
        return _signal.getsignal(signalnum)

    refused.__name__ = refused.__qualname__ = "signal"
    refused.__doc__ = _signal.signal.__doc__
    _signal.signal = refused


def run_exit_functions(patience):
    """Ends what runs in the event loop, runs what applications registered with atexit, and flushes the streams.

    patience: how long to wait for the tasks of the event loop, in seconds.
    """
    loops = sys.modules.get("ngx_wsgi.asyncio")
    if loops is not None:
        try:
            loops.shutdown(patience)
        except BaseException:
            import traceback

            traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
