"""What is different for Python in a process that belongs to nginx: signals, and the end."""

import atexit
import signal
import sys
import traceback


def refuse_signal_handlers():
    """Makes signal.signal() a warning.

    nginx controls its workers by signals; a handler set by an application would take the worker away
    from its master. Apache mod_wsgi does the same.
    """

    def refused(signalnum, handler):
        caller = sys._getframe(1)
        try:
            name = signal.Signals(signalnum).name
        except ValueError:
            name = str(signalnum)
        place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        sys.stderr.write(
            f"signal.signal({name}) is refused: nginx owns the signals of its workers (called at {place})\n"
        )
        return signal.getsignal(signalnum)

    refused.__name__ = refused.__qualname__ = "signal"
    refused.__doc__ = signal.signal.__doc__
    signal.signal = refused


def run_exit_functions(patience):
    """Ends what runs in the event loop, runs what applications registered with atexit, and flushes the streams.

    patience: how long to wait for the tasks of the event loop, in seconds.
    """
    loops = sys.modules.get("ngx_wsgi.asyncio")
    if loops is not None:
        try:
            loops.shutdown(patience)
        except BaseException:
            traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
