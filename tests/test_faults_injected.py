"""Calls that fail once: the request gets an error or the end of its connection, and everything else goes on.

A selection; `make faults` has every call of every function fail.
"""

import pytest

from harness.faults import STEPS, Faulty, inject

pytestmark = pytest.mark.once


@pytest.fixture
def faulty(nginx):
    server = Faulty(nginx, http="wsgi_enable_subinterpreters on;")
    # What nginx says of its own failures.
    server.server.allow(r"\[(alert|crit|emerg)\] \d+#\d+: (\*\d+ )?(malloc|posix_memalign|writev|epoll_ctl|open|pwrite"
                        r"|pread|pwritev|recv)\(.*failed")
    return server


def fail_each(faulty, *faults):
    """Each of (function, whose, step, what may come of it, the first at least once)."""
    faulty.warm_up(*(STEPS[step] for _, _, step, _ in faults))
    for fault, caller, name, wanted in faults:
        counted = inject(faulty, STEPS[name], fault, (caller,))
        assert wanted[0] in counted and set(counted) <= set(wanted), f"{fault} of {caller}, {name}: {counted}"


def test_memory_for_nginx(faulty):
    fail_each(faulty, ("memory", "nginx", "list", ["closed"]), ("memory", "nginx", "threads-list", ["closed"]),
              ("memory", "nginx", "post-in-a-file", ["closed", "refused"]))


def test_memory_for_objects_of_python(faulty):
    """A MemoryError, or a panic where PyO3 knows none: 500, and what the application has returned is closed."""
    fail_each(faulty, ("python", "module", "generator", ["refused", "closed", "right"]),
              ("python", "module", "write", ["refused", "closed", "right"]),
              ("python", "module", "threads-list", ["refused"]))


def test_the_system_refuses(faulty):
    fail_each(faulty, ("writev", "nginx", "generator", ["closed"]), ("pwrite", "nginx", "post-in-a-file", ["refused"]),
              ("pread", "module", "post-in-a-file", ["refused"]), ("open", "nginx", "write-buffering", ["refused"]),
              ("fcntl", "module", "readable", ["refused"]), ("epoll_ctl", "nginx", "threads-list", ["closed"]),
              ("recv", "nginx", "threads-unbuffered", ["closed", "right"]))


def test_memory_for_rust(faulty):
    """Rust's standard library ends a process that gets none; the next worker serves."""
    faulty.server.allow("exited on signal 6")
    faulty.warm_up(STEPS["list"])
    since = faulty.server.log_size()
    faulty.arm("memory", 1, ("module",))
    verdict = STEPS["list"].ask(faulty.server)
    assert faulty.disarm() and verdict == "closed"
    assert faulty.check(STEPS["list"], verdict, since)


def test_no_thread_can_be_started(faulty):
    """The applications in threads answer 500, all others as ever; after a reload without the fault all do."""
    server = faulty.server
    faulty.warm_up()
    faulty.arm("pthread_create", 1, ("module",), pid=0, lasting=True)
    server.hup()
    assert STEPS["threads-list"].ask(server) == "refused"
    assert [STEPS[name].ask(server) for name in ("list", "interpreter", "suspend")] == ["right"] * 3
    assert faulty.disarm()
    assert server.log_lines(r"\[error\].*thread")
    server.hup()
    assert STEPS["threads-list"].ask(server) == "right"
    assert server.status()["active"] == 1
