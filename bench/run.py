#!/usr/bin/env python3
"""Measures what a request through the module costs, beside what nginx itself needs for the same bytes.

    bench/run.py                                            # everything, about two minutes
    BENCH=hello ROUNDS=11 CHECK=1 bench/run.py              # or: bench/run.py hello

One nginx with one worker answers all contenders, in turns, so that they share process, memory layout, and the
machine's moods. What counts is CPU time: utime and stime of all processes of the server, divided by what they did.
bench/README.md explains the settings and how to read the result.
"""

import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HERE = ROOT / "bench"
OUT = ROOT / "build" / "bench"
TICK = os.sysconf("SC_CLK_TCK")
SIZE = 1 << 30

CONF = """\
load_module "{module}";
{user}
daemon off;
worker_processes 1;
pid "{run}/nginx.pid";
error_log "{run}/error.log" notice;

events {{
    worker_connections 1024;
}}

http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path "{run}/temp_client_body";
    proxy_temp_path "{run}/temp_proxy";
    fastcgi_temp_path "{run}/temp_fastcgi";
    uwsgi_temp_path "{run}/temp_uwsgi";
    scgi_temp_path "{run}/temp_scgi";
    wsgi_temp_path "{run}/temp_wsgi";
    default_type text/plain;

    server {{
        listen 127.0.0.1:{port};

        location = /hello/return {{
            return 200 "Hello, World!";
        }}
        location = /hello/module {{
            wsgi_pass "{here}/app.py:hello";
        }}
        location = /stream/file {{
            sendfile off;
            default_type application/octet-stream;
            alias "{run}/stream.bin";
        }}
        location /stream/module {{
            wsgi_pass "{here}/app.py:stream";
        }}
    }}
}}
"""


class Failed(Exception):
    """The measurement cannot go on; the text says why."""


# -- settings ---------------------------------------------------------------------------------------------------------

def setting(*names, default=None):
    """The first of these environment variables that is set."""
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    return default


def number(name, default, low, high):
    try:
        value = float(setting(name, default=default))
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise Failed(f"{name} must be a number from {low} to {high}")
    return value


# -- the machine ------------------------------------------------------------------------------------------------------

def cores():
    """(cores of the server, cores of the load generator), apart where that is possible."""
    available = sorted(os.sched_getaffinity(0))
    return ({available[0]}, {available[1]}) if len(available) > 1 else (set(available), set(available))


def cpu_model():
    found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()


def busy_time():
    """Seconds of CPU time that everything on this machine has used, time stolen by its host included."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / TICK


def process_time(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def own_time():
    """CPU time of this process and of the load generators that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


# -- the server -------------------------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """nginx with the module, on a core of its own, from `with` to its end."""

    def __init__(self, nginx, module, core):
        self.nginx, self.module, self.core = nginx, module, core
        self.port = free_port()
        self.run = OUT / "run"
        self.log = self.run / "error.log"

    def __enter__(self):
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir(parents=True)
        user = "user root;" if os.getuid() == 0 else ""
        conf = CONF.format(module=self.module, user=user, run=self.run, port=self.port, here=HERE)
        (self.run / "nginx.conf").write_text(conf)
        # nginx takes a variable NGINX for a list of sockets that it inherits.
        env = {name: value for name, value in os.environ.items() if name != "NGINX"}
        with open(self.run / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                [self.nginx, "-p", f"{self.run}/", "-c", str(self.run / "nginx.conf"), "-e", str(self.log)],
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, env=env,
                preexec_fn=lambda: os.sched_setaffinity(0, self.core))
        try:
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_ready(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"nginx does not start:\n{(self.run / 'stderr').read_text()}{self.log_text()}")
            time.sleep(0.02)
        # The listening socket is there before the worker that answers.
        status, body = fetch(self.port, "/hello/module")
        if (status, body) != (200, b"Hello, World!"):
            raise Failed(f"/hello/module answers {status} {body[:80]!r}:\n{self.log_text()}")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                for pid in self.pids():
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()
        (self.run / "stream.bin").unlink(missing_ok=True)

    def pids(self):
        """The master and its worker."""
        found = [self.process.pid]
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(stat.parent.name))
            except OSError:
                pass
        return found

    def cpu(self):
        return sum(process_time(pid) for pid in self.pids())

    def log_text(self):
        return self.log.read_text(errors="backslashreplace") if self.log.exists() else ""

    def version(self):
        found = re.search(r"wsgi: (nginx mod_wsgi .+)", self.log_text())
        return found.group(1) if found else "unknown"


def fetch(port, path):
    """One small answer: (status, body)."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = b""
        while block := sock.recv(65536):
            answer += block
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


# -- the load ---------------------------------------------------------------------------------------------------------

def load_by_wrk(url, connections, seconds):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(HERE / "wrk.lua"), url]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 30)
    found = re.search(r"^JSON (.+)$", done.stdout, re.M)
    if done.returncode != 0 or not found:
        raise Failed(f"wrk: {done.stdout}{done.stderr}")
    result = json.loads(found.group(1))
    return {"requests": result["requests"], "failed": result["failed"], "seconds": result["microseconds"] / 1e6,
            "p50_us": result["p50"], "p99_us": result["p99"]}


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


def download(port, path, buffer):
    """Reads one long answer to its end; returns the bytes of the body, the framing of chunks left out."""
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
        if received != SIZE:
            raise Failed(f"{path}: {received} bytes instead of {SIZE}")
    elif tail != b"0\r\n\r\n" or not SIZE < received < SIZE + SIZE // 1000:
        raise Failed(f"{path}: {received} bytes, which end in {tail!r}: not {SIZE} bytes in chunks")
    return SIZE


def fail(text):
    raise Failed(text)


# -- measuring --------------------------------------------------------------------------------------------------------

def measured(server, work):
    """What `work()` returns, with the CPU time of the server and the noise meanwhile."""
    all_before, own_before, cpu_before, start = busy_time(), own_time(), server.cpu(), time.monotonic()
    result = work()
    result["elapsed"] = time.monotonic() - start
    result["cpu"] = server.cpu() - cpu_before
    own = own_time() - own_before
    # Cores that others used meanwhile; the counters have a grain of a hundredth of a second.
    result["others"] = max(0.0, busy_time() - all_before - result["cpu"] - own) / result["elapsed"]
    if result.pop("failed", 0):
        raise Failed("some requests failed: see build/bench/run/error.log")
    if not result["cpu"]:
        raise Failed("no CPU time was counted: a round is too short")
    return result


def rounds_of(contenders, rounds, work):
    """Measures every contender once per round, the order turned round each time."""
    results = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in contenders if turn % 2 == 0 else reversed(contenders):
            results[name].append(work(name))
        print(f"  round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return results


def ratios(results, name, reference, value):
    return [value(one) / value(other) for one, other in zip(results[name], results[reference])]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def shown(values, digits):
    text = spread(values)
    return f"{text['median']:.{digits}f} | {text['min']:.{digits}f}–{text['max']:.{digits}f}"


def noisy(results):
    """Rounds in which something else used more than a tenth of a core."""
    return sum(any(cell["others"] > 0.1 for cell in cells) for cells in zip(*results.values()))


def bench_hello(server, options):
    """CPU time per request: 13 bytes through the module, and by `return 200` of the same worker."""
    contenders = ["return", "module"]
    for name in contenders:
        if fetch(server.port, f"/hello/{name}") != (200, b"Hello, World!"):
            raise Failed(f"/hello/{name} gives another answer than expected:\n{server.log_text()}")

    def load(name, seconds):
        url = f"http://127.0.0.1:{server.port}/hello/{name}"
        return options["load"](url, options["connections"], seconds)

    def per_request(cell):
        return cell["cpu"] / cell["requests"] * 1e6

    for name in contenders:
        load(name, 1)
    results = rounds_of(contenders, options["rounds"],
                        lambda name: measured(server, lambda: load(name, options["seconds"])))
    ratio = ratios(results, "module", "return", per_request)
    table = ["| hello, 13 bytes | CPU µs/request | min–max | × return 200 | min–max | requests/s | p50 µs | p99 µs |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, title in (("return", "nginx, `return 200`"), ("module", "the module")):
        cells = results[name]
        speed = statistics.median(cell["requests"] / cell["seconds"] for cell in cells)
        late = [f"{statistics.median(cell[key] for cell in cells):.0f}" if key in cells[0] else "–"
                for key in ("p50_us", "p99_us")]
        own = ratio if name == "module" else [1.0] * len(cells)
        table.append(f"| {title} | {shown([per_request(cell) for cell in cells], 2)} | {shown(own, 3)} | "
                     f"{speed:,.0f} | {late[0]} | {late[1]} |")
    return {"table": table, "results": results, "ratio": spread(ratio), "rounds": ratio, "bound": 1.35,
            "holds": statistics.median(ratio) <= 1.35, "noisy": noisy(results)}


def bench_stream(server, options):
    """Bytes per second of CPU time: a GiB of 64 KiB blocks from a generator, and as a file without sendfile."""
    with open(server.run / "stream.bin", "wb") as file:
        block = b"0123456789abcdef" * 65536
        for _ in range(SIZE // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())  # or writing it out would disturb the first rounds
    paths = {"file": "/stream/file", "chunked": "/stream/module/chunked", "length": "/stream/module/length"}
    buffer = bytearray(1 << 20)

    def load(name):
        return {"bytes": download(server.port, paths[name], buffer)}

    def per_second(cell):
        return cell["bytes"] / cell["cpu"]

    for name in paths:
        load(name)
    results = rounds_of(list(paths), options["rounds"], lambda name: measured(server, lambda: load(name)))
    ratio = ratios(results, "chunked", "file", per_second)
    table = ["| stream, 1 GiB | GiB per CPU second | min–max | × file | min–max | CPU s | elapsed s |",
             "|---|---:|---:|---:|---:|---:|---:|"]
    for name, title in (("file", "nginx, static file, sendfile off"),
                        ("chunked", "the module, 64 KiB blocks, chunked"),
                        ("length", "the module, 64 KiB blocks, Content-Length")):
        cells = results[name]
        own = ratios(results, name, "file", per_second)
        table.append(f"| {title} | {shown([per_second(cell) / (1 << 30) for cell in cells], 2)} | {shown(own, 3)} | "
                     f"{statistics.median(cell['cpu'] for cell in cells):.2f} | "
                     f"{statistics.median(cell['elapsed'] for cell in cells):.2f} |")
    return {"table": table, "results": results, "ratio": spread(ratio), "rounds": ratio, "bound": 0.5,
            "holds": statistics.median(ratio) >= 0.5, "noisy": noisy(results)}


BENCHES = {"hello": bench_hello, "stream": bench_stream}


# -- the whole --------------------------------------------------------------------------------------------------------

def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    wanted = sys.argv[1:] or setting("BENCH", default="hello stream").split()
    unknown = [name for name in wanted if name not in BENCHES]
    if unknown:
        raise Failed(f"BENCH may hold {' and '.join(BENCHES)}, not {' '.join(unknown)}")
    nginx = setting("WSGI_NGINX", "NGINX", default="/usr/sbin/nginx")
    module = setting("WSGI_MODULE", "MODULE", default=str(ROOT / "build" / "debian" / "ngx_http_wsgi_module.so"))
    module = str(pathlib.Path(module).resolve())
    if not os.access(nginx, os.X_OK):
        raise Failed(f"there is no nginx at {nginx}")
    if not os.path.exists(module):
        raise Failed(f"there is no module at {module}: run make first")
    options = {
        "rounds": int(number("ROUNDS", 7, 1, 99)),
        "seconds": number("SECONDS_PER_ROUND", 2, 1, 60),
        "connections": int(number("CONNECTIONS", 16, 1, 512)),
    }
    generator = None
    if "hello" in wanted:
        generator, options["load"] = load_generator()

    server_core, load_core = cores()
    os.sched_setaffinity(0, load_core)
    if os.getloadavg()[0] > 0.7:
        print(f"something else is running here, the load average is {os.getloadavg()[0]:.2f}: "
              "do not trust the figures", file=sys.stderr)
    OUT.mkdir(parents=True, exist_ok=True)
    broken = []
    for name in wanted:
        machine = {
            "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "cpu": cpu_model(),
            "cores": os.cpu_count(), "kernel": platform.release(),
            "pinned": server_core != load_core, "load_average": os.getloadavg()[0], "load_generator": generator,
        }
        print(f"{name}: {options['rounds']} rounds", file=sys.stderr, flush=True)
        with Server(nginx, module, server_core) as server:
            result = BENCHES[name](server, options)
            machine["versions"] = server.version()
        result["settings"] = {key: value for key, value in options.items() if key != "load"}
        result["machine"] = machine
        table = result.pop("table")
        (OUT / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        print("\n".join(table))
        print()
        print(f"{name}: ratio {result['ratio']['median']:.3f} (bound {result['bound']})")
        print(f"{machine['versions']}; {machine['cpu']}; {options['rounds']} rounds, {result['noisy']} of them "
              f"disturbed; {'server and load on different cores' if machine['pinned'] else 'one core for both'}")
        print(flush=True)
        if not result["holds"]:
            broken.append(name)
    if setting("CHECK", default="0") != "0" and broken:
        print(f"outside of its bound: {', '.join(broken)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"bench: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
