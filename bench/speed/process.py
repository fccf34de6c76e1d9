"""A server as a child of ours: begun on a core of its own, watched, ended with all that descends from it."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time

from .machine import cpu_of, of_session, pss_of, tree
from .settings import ROOT, Failed

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
# Seconds for a server to start, with others that start at the same time on the same core.
STARTS = 60
# Seconds that it may take to end by itself.
ENDS = 5


def die_with_parent():
    """If a benchmark is killed, what it began ends too; a server that gets SIGTERM ends its own children."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Process:
    """One command in a session of its own. It begins with `launch()`, and is gone after `stop()`; inside `with`, both.
    Whatever it prints goes to `log`."""

    def __init__(self, command, cores, log, env=None, cwd=None):
        self.command, self.cores, self.log = [str(word) for word in command], cores, log
        self.env, self.cwd, self.process = env, cwd, None

    def __enter__(self):
        self.launch()
        return self

    def __exit__(self, *_):
        self.stop()

    def launch(self):
        def before_exec():
            os.sched_setaffinity(0, self.cores)
            die_with_parent()

        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.cwd, env=self.env,
                start_new_session=True, preexec_fn=before_exec)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def terminate(self):
        """Tells it to end; `stop()` waits for it and for its children."""
        if self.running():
            self.process.terminate()

    def stop(self):
        if self.process is None:
            return
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDS)
        # Its session is its own, so nobody else is hit.
        for pid in of_session(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def pids(self):
        return tree(self.process.pid) if self.running() else []

    def log_text(self):
        return self.log.read_text(errors="backslashreplace") if self.log.exists() else ""


class Watched:
    """What is asked and measured: one process or several, which answer at 127.0.0.1:`port`."""

    scheme = "http"

    def __init__(self, name, port):
        self.name, self.port, self.processes, self.launched = name, port, [], 0

    def __enter__(self):
        try:
            self.launch()
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def launch(self):
        """Begins to start. `wait()` returns when it answers, so that many can start at the same time."""
        self.launched = time.monotonic()
        for process in self.processes:
            process.launch()

    def wait(self):
        raise NotImplementedError

    def terminate(self):
        """Tells all to end; `stop()` waits for it."""
        for process in reversed(self.processes):
            process.terminate()

    def stop(self):
        for process in reversed(self.processes):
            process.stop()

    def wait_until(self, condition):
        """Until it is true, asked again and again while the processes run."""
        deadline = self.launched + STARTS
        while True:
            with contextlib.suppress(OSError, ValueError):
                if condition():
                    return
            if not all(process.running() for process in self.processes) or time.monotonic() > deadline:
                raise Failed(f"{self.name} does not start: {self.last_words()}")
            time.sleep(0.02)

    def url(self, path):
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def pids(self):
        return [pid for process in self.processes for pid in process.pids()]

    def cpu(self):
        """(user, system): seconds of CPU time of all processes so far."""
        return cpu_of(self.pids())

    def pss(self):
        """KiB of all processes, what they share with others in proportion."""
        return pss_of(self.pids())

    def last_words(self):
        """The last line of the log, and where the others are."""
        lines = [line for line in self.log_text().split("\n") if line.strip()]
        logs = ", ".join(str(process.log.relative_to(ROOT)) for process in self.processes)
        return f"{lines[-1][:300] if lines else 'it does not say why'} ({logs})"

    def log_text(self):
        return "".join(process.log_text() for process in self.processes)
