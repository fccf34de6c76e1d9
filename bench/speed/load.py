"""What asks the server."""

import http.client
import json
import pathlib
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.parse

from .settings import HERE, Failed


def fetch(port, path):
    """One small answer: (status, body)."""
    return ask(f"http://127.0.0.1:{port}{path}")


def ask(url, body=None, headers=()):
    """One answer, to a POST if there is a body: (status, body)."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET" if body is None else "POST", path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url}: {error!r}") from error
    finally:
        connection.close()


def need(*programs):
    for program, package in programs:
        if not shutil.which(program):
            raise Failed(f"there is no {program}: apt-get install {package}")


WRK, H2LOAD = ("wrk", "wrk"), ("h2load", "nghttp2-client")


def load_by_wrk(url, connections, seconds, script="wrk.lua", arguments=(), headers=()):
    """Asks without a pause on so many connections. A number among `arguments` of wrk.lua is the length of a body that
    is posted."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "60s", "-s", str(HERE / script),
               *(word for name, value in headers for word in ("-H", f"{name}: {value}")),
               url, "--", *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60)
    found = re.search(r"^JSON (.+)$", done.stdout, re.M)
    if done.returncode != 0 or not found:
        raise Failed(f"wrk: {done.stdout}{done.stderr}")
    result = json.loads(found.group(1))
    return {"requests": result["requests"], "failed": result["failed"], "seconds": result["microseconds"] / 1e6,
            "p50_us": result["p50"], "p99_us": result["p99"], "max_us": result["max"]}


def paced_by_wrk(url, connections, seconds):
    """Each connection rests for 10 ms between an answer and the next question."""
    return load_by_wrk(url, connections, seconds, "paced.lua")


def spread_by_wrk(url, connections, seconds, wait, rest):
    """Connections that begin one after the other within `wait` milliseconds, and rest so long between answers."""
    return load_by_wrk(url, connections, seconds, "spread.lua", (connections, wait, rest))


def load_by_h2load(url, connections, seconds, streams):
    """HTTP/2, with so many requests at a time on each connection."""
    with tempfile.TemporaryDirectory(prefix="wsgi-bench-") as folder:
        log = pathlib.Path(folder) / "log"
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds:g}", f"--log-file={log}", url]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60)
        found = re.search(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout, re.M)
        failed = re.search(r"^requests: .*?(\d+) failed", done.stdout, re.M)
        if done.returncode != 0 or not found or not failed or "protocol: h2" not in done.stdout:
            raise Failed(f"h2load: {done.stdout}{done.stderr}")
        # A line for each request: when it began, its status, how long it took (microseconds).
        times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    good, *others = map(int, found.groups())
    return {"requests": good, "failed": int(failed.group(1)) + sum(others), "seconds": seconds, **in_order(times)}


def upload(url, length, seconds):
    """Posts so many bytes again and again, on a new connection each time, until the time is over; only whole ones are
    counted."""
    body = bytes(length)
    times = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        asked = time.perf_counter()
        status, answer = ask(url, body)
        if (status, answer.split()[:1]) != (200, [str(length).encode()]) and answer != b"Hello, World!":
            raise Failed(f"{url} answers {status} {answer[:80]!r} to {length} bytes")
        times.append((time.perf_counter() - asked) * 1e6)
    return {"requests": len(times), "failed": 0, "seconds": time.perf_counter() - begun, **in_order(sorted(times))}


def in_order(times):
    """The middle, the 99th percentile and the longest of times in order, in microseconds."""
    if not times:
        raise Failed("nothing was answered in time")
    return {"p50_us": statistics.median(times), "p99_us": times[min(len(times) - 1, len(times) * 99 // 100)],
            "max_us": times[-1]}


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
        return {**in_order(sorted(self.late)), "visits": len(self.late)}
