#!/usr/bin/env python3
"""Counts the instructions that a request takes in user space: a figure without the machine's moods.

    bench/instructions.py                   # the table, beside the figures that were recorded
    RECORD=1 bench/instructions.py          # records them, in bench/instructions.json
    CHECK=1 bench/instructions.py           # exit code 1 if one has risen by more than 5 %
    PROFILE=hello bench/instructions.py     # where they are spent; LINES=80 of them

nginx runs under valgrind's callgrind, as a single process, and is asked the same thing a few hundred times. callgrind
writes its counters down, and begins again, whenever nginx opens its logs again (SIGUSR1): once all is warm, and after
every workload. CONNECTIONS=16 asks so many at a time, THREADS=8 answers with so many; neither is recorded. The kernel's
part is not counted, nor what it costs that threads wait for one another.

Counts depend on the versions of nginx, of Python, of the C library and of the compiler, which are recorded too. Where
one is another, what is compared is the ratio to `return 200` of the same nginx, at three times the tolerance.
"""

import collections
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path[:1] = [str(pathlib.Path(__file__).resolve().parent)]
from speed.server import free_port  # noqa: E402
from speed.settings import HERE, OUT, Failed, number, server_files, setting  # noqa: E402

RECORD = HERE / "instructions.json"
RUN = OUT / "instructions"
REFERENCE = "return-200"
WARM_UP, REQUESTS = 160, 800
# The least of so many: a machine with much to do makes a request come in pieces now and then.
PASSES = 2
TOLERANCE = 0.05
RATIO_TOLERANCE = 0.15

CONF = """\
load_module "{module}";
{user}
daemon off;
master_process off;
pid "{run}/nginx.pid";
error_log "{run}/error.log" notice;

events {{ }}

http {{
    access_log off;
    keepalive_requests 1000000;
    default_type text/plain;
    client_body_temp_path "{run}/temp";
    proxy_temp_path "{run}/temp";
    fastcgi_temp_path "{run}/temp";
    uwsgi_temp_path "{run}/temp";
    scgi_temp_path "{run}/temp";
    wsgi_temp_path "{run}/temp";

    server {{
        listen 127.0.0.1:{port};
        location = /return {{
            return 200 "Hello, World!";
        }}
        location = /inline {{
            wsgi_pass "{run}/app.py:inline";
        }}
        location = /threads {{
            wsgi_threads {threads};
            wsgi_pass "{run}/app.py:threads";
        }}
    }}
}}
"""

# Two names, because an application has one pool of threads.
APP = """\
def inline(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]

def threads(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]
"""

FEW = ["User-Agent: callgrind", "Accept: */*"]
# What a browser sends: together with Host 20.
BROWSER = """\
Connection: keep-alive
Cache-Control: max-age=0
DNT: 1
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en;q=0.9,de;q=0.8
Referer: https://example.com/articles/2024/06/index.html?page=2
Cookie: sessionid=3b1f0c9a7e5d4c6f8a2b1d0e9f7c6a5b; csrftoken=Zk3uJ8vQ2mX5rT7yB1nL4pW6sD9gH0cE
If-None-Match: "5f3c6a11-2b9"
If-Modified-Since: Tue, 18 Jun 2024 09:12:33 GMT
Priority: u=0, i
Sec-CH-UA: "Not/A)Brand";v="8", "Chromium";v="126"
Sec-CH-UA-Mobile: ?0
Sec-CH-UA-Platform: "Linux"
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: same-origin""".splitlines()

# Where they ask, and with which headers.
WORKLOADS = {REFERENCE: ("/return", FEW), "hello": ("/inline", FEW), "hello20": ("/inline", BROWSER),
             "threads1": ("/threads", FEW)}


class Server:
    """nginx under callgrind; it lives inside `with`."""

    def __init__(self, nginx, module, threads):
        self.nginx, self.module, self.threads = nginx, module, threads
        self.port = free_port()
        self.dumps = 0

    def __enter__(self):
        shutil.rmtree(RUN, ignore_errors=True)
        RUN.mkdir(parents=True)
        user = "user root;" if os.getuid() == 0 else ""
        (RUN / "app.py").write_text(APP)
        (RUN / "nginx.conf").write_text(CONF.format(
            module=self.module, user=user, run=RUN, port=self.port, threads=self.threads))
        # nginx takes a variable NGINX for a list of sockets that it inherits.
        env = {name: value for name, value in os.environ.items() if name != "NGINX"}
        with open(RUN / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                ["valgrind", "--tool=callgrind", "--dump-before=ngx_reopen_files",
                 f"--callgrind-out-file={RUN}/profile", self.nginx, "-p", f"{RUN}/", "-c", f"{RUN}/nginx.conf"],
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, env=env)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_for(self, what, again=lambda: None):
        """What `what()` gives, as soon as that is something; `again` is called every second meanwhile."""
        deadline = time.monotonic() + 60
        next_time = time.monotonic() + 1
        while not (result := what()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"nginx under valgrind does not do what it should:\n{(RUN / 'stderr').read_text()}")
            if time.monotonic() > next_time:
                again()
                next_time += 1
            time.sleep(0.02)
        return result

    def connect(self):
        def connected():
            try:
                return socket.create_connection(("127.0.0.1", self.port), 60)
            except ConnectionRefusedError:
                return None
        return self.wait_for(connected)

    def touch(self):
        self.connect().close()

    def count(self):
        """The instructions since the last time, and the file that says where they were."""
        self.process.send_signal(signal.SIGUSR1)
        self.dumps += 1
        path = RUN / f"profile.{self.dumps}"

        def total():
            found = path.exists() and re.search(r"^totals: (\d+)$", path.read_text(), re.MULTILINE)
            return found and int(found[1])
        # nginx looks for signals before it waits for events: one that comes in between needs an event.
        return self.wait_for(total, self.touch), path

    def versions(self):
        found = re.search(r"wsgi: nginx mod_wsgi \S+, (nginx/\S+), Python (\S+)", (RUN / "error.log").read_text())
        nginx, python = found.groups() if found else ("unknown", "unknown")
        compiler = "unknown"
        if shutil.which("rustc"):
            compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split()[1]
        return {"nginx": nginx, "python": python, "libc": platform.libc_ver()[1], "rustc": compiler,
                "machine": platform.machine()}


def ask(connections, path, headers, times):
    """Asks so many times in all, on all connections at once."""
    question = "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()
    for _ in range(times // len(connections)):
        for connection in connections:
            connection.sendall(question)
        for connection in connections:
            answer = b""
            while not answer.endswith(b"\r\n\r\nHello, World!"):
                block = connection.recv(4096)
                answer += block
                if not block or not answer.startswith(b"HTTP/1.1 200"):
                    raise Failed(f"{path} answers {answer!r}")


def measure(threads, width):
    """({workload: instructions per request}, {workload: file of the profile}, versions)"""
    counts, profiles = {}, {}
    with Server(*server_files(), threads) as server:
        connections = [server.connect() for _ in range(width)]
        for path, headers in WORKLOADS.values():
            ask(connections, path, headers, WARM_UP)
        server.count()
        for name, (path, headers) in PASSES * list(WORKLOADS.items()):
            ask(connections, path, headers, REQUESTS)
            total, profile = server.count()
            if name not in counts or total / REQUESTS < counts[name]:
                counts[name], profiles[name] = round(total / REQUESTS), profile
        return counts, profiles, server.versions()


def functions(profile, total):
    """(instructions per request, function), the dearest first; `total` is what all take together."""
    text = subprocess.run(["callgrind_annotate", "--auto=no", "--threshold=100", "--show-percs=no", profile],
                          capture_output=True, text=True, check=True).stdout
    counts = collections.Counter()
    # "1,234  file:function [library]": one line for each file that parts of it were inlined from.
    for count, name in re.findall(r"^ *([\d,]+) +\S+?:(.+?)(?: \[.*\])?$", text, re.MULTILINE):
        counts[name] += int(count.replace(",", "")) / REQUESTS
    # To where threads begin callgrind puts all that they do.
    return [(count, name) for name, count in counts.most_common() if count < total / 4]


def compare(counts, versions, recorded):
    """(by how much each is more than recorded, the tolerance, what is compared)"""
    before = recorded["instructions"]
    if versions == recorded["versions"]:
        return {name: counts[name] / before[name] - 1 for name in counts}, TOLERANCE, "counts"
    rises = {name: counts[name] / counts[REFERENCE] / (before[name] / before[REFERENCE]) - 1 for name in counts}
    return rises, RATIO_TOLERANCE, "ratios"


def table(counts, recorded, rises):
    yield "| instructions per request | now | × return 200 | recorded | change |"
    yield "|---|---:|---:|---:|---:|"
    for name, count in counts.items():
        yield (f"| {name} | {count:,} | {count / counts[REFERENCE]:.2f} | {recorded['instructions'][name]:,} | "
               f"{rises[name]:+.1%} |")


def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    threads, width = int(number("THREADS", 1, 1, 64)), int(number("CONNECTIONS", 1, 1, 32))
    profile = setting("PROFILE")
    if profile and profile not in WORKLOADS:
        raise Failed(f"PROFILE may be one of {', '.join(WORKLOADS)}, not {profile}")
    counts, profiles, versions = measure(threads, width)
    if profile:
        for count, name in functions(profiles[profile], counts[profile])[:int(number("LINES", 40, 1, 10_000))]:
            print(f"{count:9,.0f}  {name}")
        print(f"\n{REQUESTS} requests, for callgrind_annotate and kcachegrind: {profiles[profile]}\n")
    is_usual = (threads, width) == (1, 1)
    if setting("RECORD", default="0") != "0" and is_usual:
        RECORD.write_text(json.dumps({"versions": versions, "instructions": counts}, indent=1) + "\n")
    recorded = json.loads(RECORD.read_text())
    rises, tolerance, compared = compare(counts, versions, recorded)
    print("\n".join(table(counts, recorded, rises)))
    if compared == "ratios":
        print(f"recorded with {recorded['versions']}, now {versions}: ratios are compared")
    risen = [name for name, rise in rises.items() if rise > tolerance and name != REFERENCE]
    if setting("CHECK", default="0") != "0" and is_usual and risen:
        print(f"more than {tolerance:.0%} above the recorded {compared}: {', '.join(risen)}. PROFILE=NAME make "
              "instructions shows where; if it is worth it, RECORD=1 make instructions", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"instructions: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
