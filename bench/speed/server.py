"""The server that is measured: nginx with one worker and the module, made by run.py for each benchmark.

It has a core of its own where there are two. It lives inside `with`, and leaves its log in build/bench/run.
"""

import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

from .load import fetch
from .machine import process_time
from .settings import HERE, OUT, Failed

CONF = """\
load_module "{module}";
{user}
daemon off;
worker_processes 1;
{main}
pid "{run}/nginx.pid";
error_log "{run}/error.log" notice;

events {{
    worker_connections {connections};
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
    {http}

    server {{
        listen 127.0.0.1:{port};
{locations}
    }}
}}
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """`locations` is configuration, in which @HERE@ is bench/ and @RUN@ the server's folder; `first` is the path of
    an answer that has to be "Hello, World!" before anything is measured. `connections` are worker_connections, for
    more than 1024 also three descriptors for each; `http` is more configuration."""

    def __init__(self, nginx, module, core, locations, first, connections=1024, http=""):
        self.nginx, self.module, self.core, self.locations, self.first = nginx, module, core, locations, first
        self.connections, self.http = connections, http
        self.port = free_port()
        self.run = OUT / "run"
        self.log = self.run / "error.log"

    def __enter__(self):
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir(parents=True)
        user = "user root;" if os.getuid() == 0 else ""
        locations = self.locations.replace("@HERE@", str(HERE)).replace("@RUN@", str(self.run))
        conf = CONF.format(module=self.module, user=user, run=self.run, port=self.port, locations=locations,
                           connections=self.connections, http=self.http,
                           main=self.limit())
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

    def limit(self):
        """Of descriptors; beyond what the machine allows nobody gets any."""
        most = min(3 * self.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        return f"worker_rlimit_nofile {most};" if self.connections > 1024 else ""

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
        self.expect(self.first, b"Hello, World!")

    def expect(self, path, wanted):
        """What is compared has to be the same."""
        status, body = fetch(self.port, path)
        if (status, body) != (200, wanted):
            raise Failed(f"{path} answers {status} {body[:80]!r}:\n{self.log_text()}")

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

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
