"""Those who visit the servers of a scene: slow readers in a process of their own, and one steady visitor."""

import contextlib
import select
import socket
import subprocess
import sys
import time

from speed.load import Visitor
from speed.settings import HERE, Failed

HELLO = b"Hello, World!"
# The steady visitor asks so often, in seconds: enough to tell, and no load.
PACE = 0.002
# A slow reader takes what is his so many times a second.
SIPS = 5


def steady(server, path, body, seconds):
    """{"p50_ms", "p99_ms", "max_ms", "visits"} of one visitor, or {"stalled": why} if he was not answered."""
    visitor = Visitor(server.port, path, body, PACE, seconds)
    visitor.start()
    try:
        seen = visitor.result()
    except Failed as why:
        return {"stalled": str(why)}
    return {**{f"{key}_ms": seen[f"{key}_us"] / 1000 for key in ("p50", "p99", "max")}, "visits": seen["visits"]}


@contextlib.contextmanager
def slow_readers(port, path, count, rate):
    """`count` visitors who read `rate` bytes a second each, from now to the end of the block. Gives a function that
    tells how many of them have got something so far."""
    command = [sys.executable, "-B", __file__, str(port), path, str(count), str(rate)]
    with subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env={"PYTHONPATH": str(HERE)}) as process:
        def served():
            process.stdin.write("\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        if process.stdout.readline() != "ready\n":
            raise Failed("the slow readers do not begin")
        try:
            yield served
        finally:
            process.stdin.close()


def read_slowly(port, path, count, rate):
    """The process of slow_readers: a line on stdin asks how many are served, its end is the end."""
    sockets = [one_slow_reader(port, path) for _ in range(count)]
    print("ready", flush=True)
    got = [0] * count
    pause, begun, turn = 1 / SIPS / count, time.monotonic(), 0
    while True:
        # One after the other and evenly, so that they are no burst.
        rest = begun + turn * pause - time.monotonic()
        if select.select([sys.stdin], [], [], max(0, rest))[0]:
            if not sys.stdin.readline():
                return
            print(sum(size > 0 for size in got), flush=True)
            continue
        here = turn % count
        turn += 1
        with contextlib.suppress(BlockingIOError, ConnectionError):
            got[here] += len(sockets[here].recv(rate // SIPS))


def one_slow_reader(port, path):
    sock = socket.socket()
    # The kernel is not to read in his place.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    sock.setblocking(False)
    return sock


if __name__ == "__main__":
    read_slowly(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
