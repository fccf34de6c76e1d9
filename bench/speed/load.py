"""What asks the server."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time

from .settings import HERE, Failed


def fetch(port, path):
    """One small answer: (status, body)."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = b""
        while block := sock.recv(65536):
            answer += block
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def load_by_wrk(url, connections, seconds, script="wrk.lua", arguments=()):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "60s", "-s", str(HERE / script),
               url, "--", *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 30)
    found = re.search(r"^JSON (.+)$", done.stdout, re.M)
    if done.returncode != 0 or not found:
        raise Failed(f"wrk: {done.stdout}{done.stderr}")
    result = json.loads(found.group(1))
    return {"requests": result["requests"], "failed": result["failed"], "seconds": result["microseconds"] / 1e6,
            "p50_us": result["p50"], "p99_us": result["p99"]}


def paced_by_wrk(url, connections, seconds):
    """Each connection rests for 10 ms between an answer and the next question."""
    return load_by_wrk(url, connections, seconds, "paced.lua")


def spread_by_wrk(url, connections, seconds, wait, rest):
    """Connections that begin one after the other within `wait` milliseconds, and rest so long between answers."""
    return load_by_wrk(url, connections, seconds, "spread.lua", (connections, wait, rest))


def load_by_h2load(url, connections, seconds):
    command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds:g}", url]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 30)
    found = re.search(r"^requests: .*?(\d+) succeeded, (\d+) failed", done.stdout, re.M)
    if done.returncode != 0 or not found:
        raise Failed(f"h2load: {done.stdout}{done.stderr}")
    return {"requests": int(found.group(1)), "failed": int(found.group(2)), "seconds": seconds}


def load_generator():
    for name, function in (("wrk", load_by_wrk), ("h2load", load_by_h2load)):
        if shutil.which(name):
            return name, function
    raise Failed("neither wrk nor h2load is here: apt-get install wrk")


def download(port, path, size, buffer):
    """Reads one long answer of `size` bytes to its end."""
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        view = memoryview(buffer)
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096) or fail(f"{path}: no answer")
        head, _, rest = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise Failed(f"{path}: {head[:100]!r}")
        received, tail = len(rest), rest
        while count := sock.recv_into(view):
            received += count
            tail = bytes(view[max(0, count - 5):count]) if count >= 5 else (tail + view[:count].tobytes())[-5:]
    if b"content-length:" in head.lower():
        if received != size:
            raise Failed(f"{path}: {received} bytes instead of {size}")
    elif tail != b"0\r\n\r\n" or not size < received < size + size // 1000:
        raise Failed(f"{path}: {received} bytes, which end in {tail!r}: not {size} bytes in chunks")
    return size


def fail(text):
    raise Failed(text)


class Visitor(threading.Thread):
    """One visitor who asks for the same small thing again and again, at a steady pace, whoever else is there.

    `late` are the times from each request to the end of its answer, in microseconds. The pace does not depend on the
    answers: what is late counts from the moment at which it was to be asked.
    """

    def __init__(self, port, path, body, pace, seconds):
        super().__init__(daemon=True)
        self.port, self.path, self.body, self.pace, self.seconds = port, path, body, pace, seconds
        self.late = []
        self.problem = None

    def run(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.visit(sock)
        except OSError as error:
            self.problem = f"{self.path}: {error}"

    def visit(self, sock):
        request = f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        begun = time.perf_counter()
        end = begun + self.seconds
        due = begun
        while due < end and self.problem is None:
            due += self.pace
            rest = due - time.perf_counter()
            if rest > 0:
                time.sleep(rest)
            # Waking up late is not the server's fault; being kept by the answer before is.
            asked = time.perf_counter() if rest > 0 else due
            sock.sendall(request)
            answer = b""
            while not answer.endswith(self.body):
                piece = sock.recv(65536)
                if not piece:
                    self.problem = f"{self.path}: closed after {answer[:100]!r}"
                    return
                answer += piece
            self.late.append((time.perf_counter() - asked) * 1e6)
            if not answer.startswith(b"HTTP/1.1 200"):
                self.problem = f"{self.path}: {answer[:100]!r}"

    def result(self):
        """{"p50_us", "p99_us", "max_us", "visits"}"""
        self.join()
        if self.problem:
            raise Failed(self.problem)
        late = sorted(self.late)
        return {"p50_us": late[len(late) // 2], "p99_us": late[min(len(late) - 1, len(late) * 99 // 100)],
                "max_us": late[-1], "visits": len(late)}
