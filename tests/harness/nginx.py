"""One nginx with its own folder, ports and configuration, started and watched by a test.

A test makes it through the `nginx` fixture. It lives until the end of the test; `stop()` ends it gracefully and
then looks for everything that must not have happened: alerts in the log, leaked connections or files, workers
that died. Nothing here sleeps for a fixed time: every wait polls a condition and has a deadline.
"""

import collections
import contextlib
import ctypes
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time

from . import http

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
BUILD = ROOT / "build"
NGINX = os.environ.get("WSGI_NGINX", "/usr/sbin/nginx")
MODULE = os.environ.get("WSGI_MODULE", str(BUILD / "debian" / "ngx_http_wsgi_module.so"))
PYTHON = os.environ.get("WSGI_PYTHON", "/usr/bin/python3")
# A tool such as valgrind in front of nginx, and how much longer everything takes under it.
WRAPPER = shlex.split(os.environ.get("WSGI_WRAPPER", ""))
SLOW = float(os.environ.get("WSGI_SLOW", "10" if WRAPPER else "1"))
# So many threads for the applications of every configuration that says nothing of wsgi_threads.
THREADS = int(os.environ.get("WSGI_TEST_THREADS", "0"))

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _read_version():
    out = subprocess.run([NGINX, "-V"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", out)
    if not found:
        raise RuntimeError(f"{NGINX} -V says no version: {out!r}")
    return tuple(int(n) for n in found.groups()), out


VERSION, BUILT_WITH = _read_version()
VENDORED = VERSION >= (1, 25, 1)
VERSION_TEXT = ".".join(str(n) for n in VERSION)


class NginxError(AssertionError):
    """nginx did not do what the test relies on."""


def wait_for(condition, what, timeout=10.0, step=0.01):
    """The first true value of `condition()`; fails with `what` once `timeout` seconds are over."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise NginxError(f"not within {timeout * SLOW:g} s: {what() if callable(what) else what}")
        time.sleep(step)


# Ports under the range the kernel gives to outgoing connections: those could take a port between the moment it is
# found free and the moment nginx binds it.
_ports = list(range(11000, 32000))
random.Random(os.getpid() * 7919 + time.monotonic_ns()).shuffle(_ports)


def free_port():
    while _ports:
        port = _ports.pop()
        with contextlib.ExitStack() as stack:
            try:
                for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        try:
                            sock = stack.enter_context(socket.socket(family, kind))
                        except OSError:
                            continue  # no IPv6 on this machine
                        sock.bind((host, port))
            except OSError:
                continue
            return port
    raise NginxError("no free port left")


def certificate():
    """A self-signed certificate for localhost, made once: (certificate file, key file)."""
    folder = BUILD / "tests"
    cert, key = folder / "localhost.crt", folder / "localhost.key"
    if not (cert.exists() and key.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        part = f".{os.getpid()}"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "3650", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", f"{key}{part}", "-out", f"{cert}{part}"],
            check=True, capture_output=True)
        # The key first: whoever sees the certificate finds the key that belongs to it.
        os.replace(f"{key}{part}", key)
        os.replace(f"{cert}{part}", cert)
    return cert, key


def _stat_fields(pid):
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def children(pid):
    """Living children of a process, zombies not counted."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = _stat_fields(name)
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != b"Z":
                found.append(int(name))
    return sorted(found)


def alive(pid):
    try:
        return _stat_fields(pid)[0] != b"Z"
    except OSError:
        return False


def state(pid):
    """The letter that ps shows: R runs, S sleeps, T has been stopped."""
    return _stat_fields(pid)[0].decode()


def title(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").strip().decode()
    except OSError:
        return ""


def rss(pid):
    """Resident memory of a process in bytes."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024


def cpu(pid):
    """Seconds of CPU time a process has used."""
    fields = _stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_fds(pid):
    """What the descriptors of a process point to, by number."""
    found = {}
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"{folder}/{name}")
    return found


def _before_exec():
    # A test run that is killed must not leave servers behind.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


TEMPLATE = """\
{user}
{load}
daemon off;
master_process {master};
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log {level};
{main}
events {{
    worker_connections {connections};
    {events}
}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/temp_client_body;
    proxy_temp_path {folder}/temp_proxy;
    fastcgi_temp_path {folder}/temp_fastcgi;
    uwsgi_temp_path {folder}/temp_uwsgi;
    scgi_temp_path {folder}/temp_scgi;
    {wsgi_temp_path}
    {threads}
    default_type text/plain;
    {http}
    server {{
        {listen}
        server_name {server_name};
        {server}
    }}
    server {{
        # How the harness counts connections.
        listen unix:{folder}/status.sock;
        access_log off;
        location = /status {{ stub_status; }}
    }}
    {servers}
}}
"""

# The log of a test must not hold any of these, unless the test says so by `allow`.
FORBIDDEN = re.compile(r"\[(alert|crit|emerg)\]|open socket left|exited on signal|panicked at|free\(\): invalid"
                       r"|Fatal Python error|double free|corrupt")


class Nginx:
    """See the module. `server`, `http`, `main`, `events`, `servers` are pieces of configuration text.

    In them `%%FOLDER%%`, `%%APPS%%`, `%%PORT%%`, `%%TLS_PORT%%`, `%%H2C_PORT%%`, `%%H3_PORT%%`, `%%PORT6%%`,
    `%%UNIX%%` and `%%PYTHON%%` are replaced.
    """

    def __init__(self, folder, server="", *, http="", main="", events="", servers="", server_name="localhost",
                 workers=1, connections=512, master=True, level="info", ipv6=False, unix=False, tls=False, h2c=False,
                 h3=False, allow=(), env=None, check_fds=True, check_connections=True, load_module=True,
                 prefix=None):
        self.folder = pathlib.Path(folder)
        self.prefix = prefix or self.folder
        self.whole_text = None
        self.parts = dict(server=server, http=http, main=main, events=events, servers=servers,
                          server_name=server_name)
        self.workers_wanted = workers
        self.connections = connections
        # A tool follows one process best.
        self.master = master and not WRAPPER
        self.level = level
        self.allowed = list(allow)
        self.extra_env = env or {}
        self.check_fds = check_fds
        self.check_connections = check_connections
        self.load_module = load_module
        self.port = free_port()
        self.port6 = free_port() if ipv6 else None
        self.unix = self.folder / "nginx.sock" if unix else None
        self.tls_port = free_port() if tls else None
        self.h2c_port = free_port() if h2c else None
        self.h3_port = free_port() if h3 else None
        if h3 and not VENDORED:
            raise NginxError("this nginx has no HTTP/3")
        self.process = None
        self.log_path = self.folder / "error.log"
        self.stderr_path = self.folder / "stderr.log"
        self.clients = []
        self.baseline = {}
        self.conf_path = self.folder / "nginx.conf"

    # -- configuration --------------------------------------------------------------------------------------------

    def expand(self, text):
        values = {"FOLDER": self.folder, "APPS": TESTS / "apps", "PORT": self.port, "PORT6": self.port6,
                  "TLS_PORT": self.tls_port, "H2C_PORT": self.h2c_port, "H3_PORT": self.h3_port, "UNIX": self.unix,
                  "PYTHON": PYTHON}
        return re.sub(r"%%([A-Z0-9_]+)%%", lambda found: str(values[found.group(1)]), text)

    def listens(self):
        lines = [f"listen 127.0.0.1:{self.port};"]
        inline_http2 = "" if VENDORED else " http2"
        if self.port6:
            lines.append(f"listen [::1]:{self.port6};")
        if self.unix:
            lines.append(f"listen unix:{self.unix};")
        if self.tls_port:
            lines.append(f"listen 127.0.0.1:{self.tls_port} ssl{inline_http2};")
        if self.h2c_port:
            lines.append(f"listen 127.0.0.1:{self.h2c_port}{inline_http2};")
        if self.h3_port:
            lines.append(f"listen 127.0.0.1:{self.h3_port} quic;")
        if VENDORED and (self.tls_port or self.h2c_port):
            lines.append("http2 on;")
        if self.tls_port or self.h3_port:
            cert, key = certificate()
            lines += [f"ssl_certificate {cert};", f"ssl_certificate_key {key};"]
        return "\n        ".join(lines)

    def text(self, **parts):
        """The whole nginx.conf; `parts` replace those given when the object was made."""
        parts = {**self.parts, **parts}
        text = TEMPLATE.format(
            user="user root;" if os.getuid() == 0 and self.master else "",
            load=f"load_module {MODULE};" if self.load_module else "",
            master="on" if self.master else "off", workers=self.workers_wanted, folder=self.folder,
            level=self.level, connections=self.connections, listen=self.listens(),
            # The default is wherever nginx was built to keep such files, which tests must not touch.
            wsgi_temp_path="" if not self.load_module or "wsgi_temp_path" in parts["http"]
            else f"wsgi_temp_path {self.folder}/wsgi_temp;", threads=self.threads(parts), **parts)
        return self.expand(text)

    def threads(self, parts):
        """`wsgi_threads` for a run of all tests with threads, where the configuration does not choose for itself."""
        own = any("wsgi_threads" in text for text in parts.values())
        return f"wsgi_threads {THREADS};" if THREADS and self.load_module and not own else ""

    def write_conf(self, text=None, **parts):
        """Writes nginx.conf: `text`, or `whole_text` where a test set it, or the template with `parts`."""
        if text is None and not parts:
            text = self.whole_text
        self.conf_path.write_text(text if text is not None else self.text(**parts))

    def environment(self):
        env = {key: value for key, value in os.environ.items()
               if not key.startswith(("PYTHON", "PYTEST", "WSGI_")) and key != "VIRTUAL_ENV"}
        env.update(self.extra_env)
        return env

    def command(self, *more):
        return [*WRAPPER, NGINX, "-p", f"{self.prefix}/", "-c", str(self.conf_path), "-e", str(self.log_path), *more]

    def test_config(self, text=None, **parts):
        """`nginx -t`: (accepted, output)."""
        self.write_conf(text, **parts)
        done = subprocess.run(self.command("-t"), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="backslashreplace", env=self.environment(), timeout=30 * SLOW)
        return done.returncode == 0, done.stdout + done.stderr

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self, timeout=20):
        self.write_conf()
        with open(self.stderr_path, "ab") as err:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                            env=self.environment(), cwd=self.folder, preexec_fn=_before_exec)
        self.wait_ready(timeout)
        return self

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self, timeout=20):
        def ready():
            if self.process.poll() is not None:
                raise NginxError(f"nginx ended with {self.process.returncode}:\n{self.output()}{self.log()}")
            return self._settled() and self._status() is not None
        wait_for(ready, lambda: f"nginx is ready\n{self.log()}", timeout)
        self._remember()

    def _settled(self, old=()):
        if not self.master or WRAPPER:
            return True
        return len([pid for pid in self.workers() if pid not in old]) == self.workers_wanted

    def _remember(self):
        for pid in self.workers():
            self.baseline.setdefault(pid, open_fds(pid))

    def workers(self):
        """Pids of the workers that serve: started completely and not shutting down."""
        if not self.master:
            return [self.process.pid]
        if WRAPPER:
            return children(self.process.pid)
        # nginx sets the title when init_process is over.
        return [pid for pid in children(self.process.pid) if title(pid) == "nginx: worker process"]

    @property
    def worker(self):
        (pid,) = self.workers()
        return pid

    def all_children(self):
        return children(self.process.pid)

    def signal(self, name, pid=None):
        os.kill(pid or self.process.pid, getattr(signal, f"SIG{name}"))

    def hup(self, timeout=20, wait_old=True, **parts):
        """Reload: returns when the new workers serve and (unless told otherwise) the old ones are gone."""
        if parts:
            self.write_conf(**parts)
        old = set(self.workers())
        self.signal("HUP")
        wait_for(lambda: self._settled(old), lambda: f"new workers after HUP\n{self.tail()}", timeout)
        if not self.master:
            return
        # From here on `workers()` are the new ones only.
        wait_for(lambda: not old & set(self.workers()), f"old workers {old} have heard of it", timeout)
        if wait_old:
            wait_for(lambda: not any(alive(pid) for pid in old),
                     lambda: f"old workers {old} gone after HUP\n{self.tail()}", timeout)
        self._remember()

    def stop(self, name="QUIT", timeout=15, check=True):
        """Ends nginx and checks what it left behind. Safe to call twice."""
        if self.process is None:
            return
        for client in self.clients:
            with contextlib.suppress(Exception):
                client.close()
        self.clients.clear()
        problems = []
        if self.process.poll() is None:
            if check and self.check_connections:
                problems += self._leaked_connections()
            if check and self.check_fds:
                problems += self._leaked_fds()
            self.signal(name)
            try:
                self.process.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                problems.append(f"nginx did not end within {timeout} s of SIG{name}: {self._stacks()}")
                self.kill()
        if self.process.returncode != 0:
            problems.append(f"nginx ended with {self.process.returncode}: {self.output()}")
        self.process = None
        if check:
            problems += self._log_problems()
            if problems:
                raise NginxError("\n".join(problems))

    def wait_exit(self, timeout=15):
        """Waits for an end that the test itself asked for; the exit code."""
        return self.process.wait(timeout * SLOW)

    def kill(self):
        """The last resort: master and children, so that nothing stays behind."""
        if self.process is None or self.process.poll() is not None:
            return
        for pid in [*children(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def _stacks(self):
        """Where the processes hang, if gdb is there to tell."""
        if not shutil.which("gdb"):
            return ""
        out = []
        for pid in self.all_children() or [self.process.pid]:
            done = subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 12"],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            out.append(f"\n--- {pid} {title(pid)}\n" + "\n".join(
                line for line in done.stdout.splitlines() if line.startswith(("#", "Thread"))))
        return "".join(out)

    def _leaked_connections(self):
        def idle():
            state = self._status()
            return state is None or state["active"] == 1  # the one that asks
        try:
            wait_for(idle, "", 2)
        except NginxError:
            return [f"connections left open: {self._status()}"]
        return []

    def _leaked_fds(self):
        problems = []
        for pid in self.workers():
            if pid not in self.baseline:
                continue

            def extra(pid=pid, known=self.baseline[pid]):
                try:
                    now = open_fds(pid)
                except OSError:
                    return {}
                # By target, not by number: a log that was opened again may have another one.
                more = collections.Counter(now.values()) - collections.Counter(known.values())
                return {target: count for target, count in more.items() if not target.startswith("/dev/")}
            try:
                wait_for(lambda: not extra(), "", 2)
            except NginxError:
                problems.append(f"worker {pid} holds descriptors it did not have at start: {extra()}")
        return problems

    def _log_problems(self):
        lines = (self.log() + self.output()).splitlines()
        bad = [line for line in lines
               if FORBIDDEN.search(line) and not any(re.search(pattern, line) for pattern in self.allowed)]
        return ["the log holds: " + "\n".join(bad[:20])] if bad else []

    def allow(self, *patterns):
        """Log lines that match one of these are no failure of the test."""
        self.allowed += patterns

    # -- what can be seen -----------------------------------------------------------------------------------------

    def _status(self):
        try:
            with http.Connection(str(self.folder / "status.sock"), timeout=5 * SLOW) as connection:
                body = connection.request("GET", "/status", [("Connection", "close")]).body.decode()
        except (OSError, http.Truncated):
            return None
        numbers = [int(n) for n in re.findall(r"\d+", body)]
        if len(numbers) != 7:
            return None
        return dict(zip(("active", "accepts", "handled", "requests", "reading", "writing", "waiting"), numbers))

    def status(self):
        """The numbers of stub_status; the request that asks is among them."""
        return self._status()

    def log(self):
        try:
            return self.log_path.read_text(errors="backslashreplace")
        except FileNotFoundError:
            return ""

    def output(self):
        """What nginx itself wrote to stderr."""
        try:
            return self.stderr_path.read_text(errors="backslashreplace")
        except FileNotFoundError:
            return ""

    def tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])

    def log_lines(self, pattern="", since=0):
        """Lines of the error log that match, from position `since` (see `log_size`) on."""
        return [line for line in self.log()[since:].splitlines() if re.search(pattern, line)]

    def log_size(self):
        return len(self.log())

    def wait_for_log(self, pattern, timeout=10, count=1, since=0):
        """Matching lines, as soon as there are `count` of them."""
        def enough():
            lines = self.log_lines(pattern, since)
            return lines if len(lines) >= count else None
        return wait_for(enough, lambda: f"{count} line(s) like {pattern!r} in the log:\n{self.tail(60)}", timeout)

    def access_lines(self):
        try:
            return (self.folder / "access.log").read_text(errors="backslashreplace").splitlines()
        except FileNotFoundError:
            return []

    # -- clients --------------------------------------------------------------------------------------------------

    def _address(self, tls=False, ipv6=False, unix=False):
        if unix:
            return str(self.unix)
        if ipv6:
            return ("::1", self.port6)
        return ("127.0.0.1", self.tls_port if tls else self.port)

    def connect(self, *, tls=False, ipv6=False, unix=False, **options):
        """A raw HTTP/1 connection, closed at the end of the test at the latest."""
        connection = http.Connection(self._address(tls, ipv6, unix), tls=tls, **options)
        self.clients.append(connection)
        return connection

    def request(self, method, target="/", headers=(), body=None, *, version="1.1", chunked=False, **where):
        """One request on a connection of its own."""
        connection = self.connect(**where)
        try:
            return connection.request(method, target, [*headers, ("Connection", "close")], body, version=version,
                                      chunked=chunked)
        finally:
            connection.close()
            self.clients.remove(connection)

    def get(self, target="/", headers=(), **more):
        return self.request("GET", target, headers, **more)

    def post(self, target="/", body=b"", headers=(), **more):
        return self.request("POST", target, headers, body, **more)

    def environ(self, target="/", headers=(), method="GET", body=None, **more):
        """The environ of a request to `ENVIRON_APP` (see conftest.py)."""
        answer = self.request(method, target, headers, body, **more)
        assert answer.status == 200, f"{answer}\n{self.tail()}"
        return answer.json()

    def h2(self, *, tls=False, **options):
        """An HTTP/2 connection: over TLS with ALPN, or cleartext with prior knowledge."""
        from . import h2client
        port = self.tls_port if tls else self.h2c_port
        client = h2client.H2Connection(("127.0.0.1", port), tls=tls, **options)
        self.clients.append(client)
        return client

    def h3(self, *requests, **options):
        """Requests over one HTTP/3 connection: see h3client.fetch()."""
        from . import h3client
        return h3client.fetch("127.0.0.1", self.h3_port, requests, **options)
