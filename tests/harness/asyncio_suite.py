"""CPython's own tests of asyncio: where they are, which of them are run on the loop that nginx drives, and which not.

They come with Python, or in Debian apart from it: `make deps` unpacks those to build/testsuite.
"""

import functools
import os
import pathlib
import subprocess

from .nginx import BUILD, PYTHON

# Everything, instead of what is enough for every day.
ALL = os.environ.get("WSGI_ASYNCIO_SUITE") == "all"

# Modules with tests that make a loop by asyncio.new_event_loop() or asyncio.SelectorEventLoop(): these make ours. Not
# here are those whose loops are mocks or are none: test_futures, test_pep492, test_protocols, test_selector_events,
# test_transports; test_runners, where loops are mocks and end by SIGINT; test_proactor_events, test_windows_events,
# test_windows_utils.
MODULES = [
    "test_base_events", "test_buffered_proto", "test_context", "test_eager_task_factory", "test_events",
    "test_futures2", "test_locks", "test_queues", "test_sendfile", "test_server", "test_sock_lowlevel", "test_ssl",
    "test_sslproto", "test_staggered", "test_streams", "test_subprocess", "test_taskgroups", "test_tasks",
    "test_threads", "test_timeouts", "test_unix_events", "test_waitfor",
]

LEFT_OUT = {
    # A worker has no handlers of signals, since nginx has: add_signal_handler(), SIGINT, and what tells of the end of a
    # child by SIGCHLD (SafeChildWatcher, FastChildWatcher; the others are tested).
    "test_base_events.*signal*",
    "test_events.*signal*",
    "test_events.*sigint*",
    "test_streams.*test_read_all_from_pipe_reader",
    "test_subprocess.SubprocessFastWatcherTests.*",
    "test_subprocess.SubprocessSafeWatcherTests.*",
    "test_unix_events.FastChildWatcherTests.*",
    "test_unix_events.SafeChildWatcherTests.*",
    "test_unix_events.SelectorEventLoopSignalTests.*",
    "test_unix_events.*signal*",
    # The default policy and its loop, asked for in the main thread, which here is nginx's.
    "test_events.PolicyTests.*",
    "test_events.Test*GetEventLoop.test_get_event_loop_returns_running_loop2",
    "test_unix_events.PolicyTests.*",
    # The same tests again with another selector, of which ours takes no notice.
    "test_*.EPollEventLoopTests.*",
    "test_*.PollEventLoopTests.*",
    # Looks for a writer of the application in the selector, where only those of transports are.
    "test_unix_events.SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_blocking_error",
    # Forks of a process that has other threads.
    "test_unix_events.TestFork.*",
}
# The same tests for each of the classes that Task and Future can be, in C and in Python.
SAME_AGAIN = {
    "test_tasks.CTaskSubclass_*", "test_tasks.CTask_CFuture_SubclassTests.*", "test_tasks.CTask_PyFuture_Tests.*",
    "test_tasks.PyTask_*",
}


@functools.lru_cache
def folder():
    """The folder of the package `test` that has them, or None."""
    own = subprocess.run([PYTHON, "-c", "import test; print(test.__path__[0])"], capture_output=True, text=True)
    places = [pathlib.Path(own.stdout.strip()), *BUILD.glob("testsuite/usr/lib/python3*/test")]
    return next((place for place in places if (place / "test_asyncio" / "test_events.py").exists()), None)


def modules():
    there = folder()
    return [name for name in MODULES if there and (there / "test_asyncio" / f"{name}.py").exists()]


def left_out():
    return sorted(LEFT_OUT if ALL else LEFT_OUT | SAME_AGAIN)


def passes_elsewhere(test):
    """Whether the test passes on asyncio's own loop, by this Python, outside of nginx."""
    program = f"import test, unittest; test.__path__.append({str(folder())!r}); unittest.main(module=None)"
    done = subprocess.run([PYTHON, "-c", program, f"test.test_asyncio.{test}"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60)
    return done.returncode == 0
