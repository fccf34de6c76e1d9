"""No room on the disk, no temporary folder that could be written to, no descriptor, no connection left."""

import errno
import os
import subprocess

import pytest

from harness.apps import settled
from harness.faults import STEPS, Faulty
from harness.http import Truncated
from harness.nginx import open_fds, wait_for

pytestmark = pytest.mark.once

# What needs a temporary file, and what comes of it without one.
SPILLING = {"post-in-a-file": "refused", "post-chunked": "refused", "write-buffering": "refused",
            "http2-spill": "closed", "threads-post-in-a-file": "refused"}
# What needs none.
OTHERS = ("list", "large", "write", "file", "post", "suspend", "threads-write", "threads-file", "threads-unbuffered",
          "interpreter")


def make(nginx, **options):
    return Faulty(nginx, http="wsgi_enable_subinterpreters on;" + options.pop("http", ""), **options)


def ask_all(faulty):
    """What comes of the requests that spill; all others are right."""
    said = {name: STEPS[name].ask(faulty.server) for name in SPILLING}
    assert {name: STEPS[name].ask(faulty.server) for name in OTHERS} == dict.fromkeys(OTHERS, "right")
    return said


def all_is_well(faulty, since):
    """Everything is right again, and nothing is left of what was not."""
    assert ask_all(faulty) == dict.fromkeys(SPILLING, "right")
    assert not faulty.leftovers(since)


@pytest.mark.parametrize("fault, error", [("pwrite", errno.ENOSPC), ("pwrite", errno.EDQUOT), ("open", errno.EROFS)])
def test_temporary_files_cannot_be_written(nginx, fault, error):
    """As long as it lasts: a full disk, a quota that is used up, a file system that is read-only."""
    faulty = make(nginx, allow=[rf"\[crit\].*\({error}: "])
    faulty.warm_up(*map(STEPS.get, SPILLING))
    since = faulty.server.log_size()
    for _ in range(2):
        faulty.arm(fault, 1, error=error, lasting=True)
        assert ask_all(faulty) == SPILLING
        assert faulty.disarm()
        all_is_well(faulty, since)


def test_a_disk_that_is_full(nginx, folder):
    """A real one, of half a MiB, that another file fills."""
    disk = folder / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True,
                          text=True)
    if done.returncode:
        pytest.skip(f"mount is not permitted: {done.stderr.strip()}")
    try:
        for name in ("temp_client_body", "wsgi_temp"):
            (disk / name).mkdir()
            (folder / name).symlink_to(disk / name)
        faulty = make(nginx, allow=[r"\[crit\].*No space left on device"])
        faulty.warm_up(STEPS["post-in-a-file"])
        since = faulty.server.log_size()
        (disk / "other").write_bytes(b"x" * (480 << 10))
        assert ask_all(faulty) == SPILLING
        (disk / "other").unlink()
        assert STEPS["post-in-a-file"].ask(faulty.server) == "right"
        assert not faulty.leftovers(since)
        assert not [name for _, _, names in os.walk(disk) for name in names], "no file is left"
        faulty.server.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_descriptors(nginx):
    """Idle connections take all that a worker may have: who is connected already is served as far as possible."""
    faulty = make(nginx, main="worker_rlimit_nofile 70;", allow=[r"\[crit\].*accept4\(\) failed \(24", r"\(24: "])
    server = faulty.server
    names = ("list", "post", "post-in-a-file", "file", "write", "subrequest", "readable", "interpreter",
             "threads-list", "threads-file")
    faulty.warm_up(*map(STEPS.get, names))
    since = server.log_size()
    asking = [(STEPS[name], server.connect()) for name in names]
    for _, client in asking:
        # nginx has accepted it.
        client.send(b"GET /list HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_response().status == 200
    idle = []
    wait_for(lambda: idle.append(server.connect()) or server.log_lines(r"accept4\(\) failed \(24", since),
             "no descriptor is left")
    assert len(open_fds(server.worker)) == 70
    said = {}
    for step, client in asking:
        try:
            answer = client.request(step.method, step.target, body=step.body)
            said[step.name] = "right" if (answer.status, answer.body) == (200, step.wanted) else answer.status
        except Truncated:
            said[step.name] = "closed"
    needs_none = ("list", "post", "write", "subrequest", "interpreter", "threads-list")
    assert {name: said[name] for name in needs_none} == dict.fromkeys(needs_none, "right"), server.tail()
    assert said["post-in-a-file"] == 500
    # nginx has closed that connection, so there may be one for somebody else.
    assert {said[name] for name in names if name not in needs_none} <= {500, "right"}, said
    # The module that writes tracebacks could not be read any more.
    assert server.log_lines(r"wsgi: application .* raised OSError: \[Errno 24\] Too many open files: '.*/file'")
    assert server.log_lines(r'wsgi:   File ".*/app.py", line \d+, in at_file$')
    for client in [*idle, *(client for _, client in asking)]:
        client.close()
    # nginx listens no more for half a second.
    assert STEPS["list"].ask(server) == "right"
    faulty.warm_up(*map(STEPS.get, names))
    settled(lambda: server.status()["active"])
    assert not faulty.leftovers(since)


def test_connections(nginx):
    """`worker_connections` are used up: the longest idle one goes, and what takes one of its own fails."""
    faulty = make(nginx, connections=40, allow=["worker_connections are not enough"])
    server = faulty.server
    names = ("list", "generator", "write", "post-in-a-file", "file", "suspend", "subrequest", "readable", "asyncio",
             "interpreter", "threads-list", "threads-large")
    faulty.warm_up(*map(STEPS.get, names))
    since = server.log_size()
    # These have begun a request, so nginx does not close them for others.
    begun = []

    def one_more():
        begun.append(server.connect())
        begun[-1].send(b"GET /li")
        return server.log_lines(r"\[alert\].*worker_connections are not enough", since)
    asking = [(STEPS[name], server.connect()) for name in names]
    for _, client in asking:
        client.send(b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
    wait_for(one_more, "no connection is left")
    for step, client in asking:
        client.send(b"x")
        assert client.read_response().status == 200
        answer = client.request(step.method, step.target, body=step.body)
        # What watches a descriptor needs a connection.
        wanted = (500, None) if step.name == "readable" else (200, step.wanted)
        assert (answer.status, answer.body if wanted[1] is not None else None) == wanted, step.name
        # Not idle, or nginx would take it for those that wait.
        client.send(b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
    for client in [*begun, *(client for _, client in asking)]:
        client.close()
    faulty.warm_up(*map(STEPS.get, names))
    assert not faulty.leftovers(since)
