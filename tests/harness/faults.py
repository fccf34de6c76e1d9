"""Calls that fail: nginx with a preloaded library that a test tells which call of which function is to fail.

`faults/inject.c` says what it does. A test makes a server by `serve`, asks for a `Step`, a request with the only right
answer, and has `inject` repeat it: with the first call failing, with the second, and so on until none is left to fail.
After each of them `Faulty.check` looks at what must not have happened.
"""

import ctypes
import errno
import fcntl
import itertools
import json
import mmap
import re
import shlex
import subprocess
import zlib

from . import http
from .apps import PRELUDE, settled
from .nginx import BUILD, MODULE, PYTHON, TESTS, NginxError, alive, open_fds, wait_for

SOURCE = TESTS / "faults" / "inject.c"
# The order is that of `enum fault` in inject.c; with what the system says when such a call fails.
FAULTS = {"none": 0, "memory": errno.ENOMEM, "python": errno.ENOMEM, "read": errno.EIO, "write": errno.EIO,
          "writev": errno.EIO, "sendfile": errno.EIO, "open": errno.EMFILE, "eventfd": errno.EMFILE,
          "epoll_ctl": errno.ENOMEM, "pthread_create": errno.EAGAIN, "mmap": errno.ENOMEM, "pread": errno.EIO,
          "pwrite": errno.ENOSPC, "recv": errno.ECONNRESET, "send": errno.ECONNRESET, "accept4": errno.EMFILE,
          "fcntl": errno.EMFILE, "pipe": errno.EMFILE}
CALLERS = {"nginx": 1, "module": 2, "python": 4, "others": 8}
FRAMES = 24
# What the log says of a failure; the access log is none, and below "error" is what nginx holds for a client's doing.
LOGGED = re.compile(r"^\S+ \S+ \[(error|crit|alert|emerg)\] \d+#\d+: (.*)")
# Rust's standard library ends the process when it gets no memory, and says so. The master starts another worker.
ABORTED = "memory allocation of"


class Page(ctypes.Structure):
    """`struct page` of inject.c."""

    _fields_ = [(name, ctypes.c_uint64) for name in
                ("fault", "callers", "pid", "error", "at", "lasting", "least", "calls", "injected")] + [
        ("clock", ctypes.c_int64), ("module", ctypes.c_uint64), ("count", ctypes.c_uint64),
        ("frames", ctypes.c_uint64 * FRAMES)]


def library():
    """The path of the compiled library, made once for each version of its source and of Python."""
    describe = ("import sysconfig as s; print(s.get_config_var('LDVERSION'), *('-I' + path for path in"
                " {s.get_path('include'), s.get_path('platinclude')}), '-L' + s.get_config_var('LIBDIR'),"
                " '-Wl,-rpath,' + s.get_config_var('LIBDIR'), '-lpython' + s.get_config_var('LDVERSION'))")
    version, flags = subprocess.run([PYTHON, "-c", describe], capture_output=True, text=True,
                                    check=True).stdout.strip().split(" ", 1)
    folder = BUILD / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"inject-{version}-{zlib.crc32(SOURCE.read_bytes()):08x}.so"
    with open(folder / "inject.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            # -fno-builtin: the compiler may not make a calloc() of the calls in our malloc().
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-builtin", "-o",
                            path, SOURCE, *shlex.split(flags)], check=True)
    return path


class Step:
    """One request. `wanted` is the body of the right answer; None stands for an answer that breaks off."""

    def __init__(self, name, target, wanted, *, method="GET", body=None, status=200, chunked=False, h2=False):
        self.name, self.target, self.wanted, self.status = name, target, wanted, status
        self.method, self.body, self.chunked, self.h2 = method, body, chunked, h2

    def ask(self, server):
        """"right"; or "refused", a clean error of nginx; or "closed", without an answer or in the middle of it."""
        try:
            if self.h2:
                client = server.h2()
                try:
                    answer = client.request(self.method, self.target, body=self.body)
                finally:
                    client.close()
                if answer.reset is not None or not answer.complete:
                    return "closed" if self.wanted is not None else "right"
            else:
                answer = server.request(self.method, self.target, body=self.body, chunked=self.chunked)
        except (http.Truncated, ConnectionError):
            return "right" if self.wanted is None else "closed"
        except TimeoutError:
            return "wrong: no answer at all"
        body = bytes(answer.body)
        if answer.status == self.status and (self.wanted == body or self.status >= 500):
            return "right"
        if answer.status in (500, 502, 503, 504) and b"<html>" in body:
            return "refused"
        return f"wrong: {answer!r}"


APP = PRELUDE + '''
import zlib

bodies, closed_twice, tokens = set(), [], set()


class Token:
    """Lives as long as the environ that it is in."""

    def __init__(self):
        tokens.add(id(self))

    def __del__(self):
        tokens.discard(id(self))


class Closing:
    """An iterable that knows whether it has been closed."""

    def __init__(self, blocks):
        self.blocks = iter(blocks)
        self.is_closed = False
        bodies.add(self)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.blocks)

    def close(self):
        if self.is_closed:
            closed_twice.append(1)
        self.is_closed = True
        bodies.discard(self)


def at_list(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"one ", b"two"]


def at_generator(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing([b"one ", b"", b"two"])


def at_large(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing([b"x" * 65536] * 8)


def at_write(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"one ")
    write(b"two ")
    return Closing([b"three"])


def at_spill(environ, start_response):
    write = start_response("200 OK", PLAIN)
    for _ in range(8):
        write(b"x" * 65536)
    return Closing([])


class File:
    """A file that knows whether it has been closed."""

    def __init__(self, path):
        self.file = open(path, "rb", buffering=0)
        self.read, self.fileno = self.file.read, self.file.fileno
        bodies.add(self)

    def close(self):
        if self.file.closed:
            closed_twice.append(1)
        self.file.close()
        bodies.discard(self)


def at_file(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](File(os.path.join(HERE, "file")))


def at_post(environ, start_response):
    total, size = 0, 0
    while block := environ["wsgi.input"].read(30000):
        total, size = zlib.crc32(block, total), size + len(block)
    start_response("200 OK", PLAIN)
    return [b"%d %d" % (size, total)]


def at_error(environ, start_response):
    start_response("200 OK", PLAIN)
    raise LookupError("planned")


def at_late(environ, start_response):
    start_response("200 OK", PLAIN)

    def blocks():
        yield b"one "
        raise LookupError("planned")
    return Closing(blocks())


def at_suspend(environ, start_response):
    def blocks():
        environ["x-wsgiorg.suspend"](5)
        yield b""
        yield b"one "
        environ["x-wsgiorg.suspend"](5)
        yield b""
        yield b"two"
    start_response("200 OK", PLAIN)
    return Closing(blocks())


def at_readable(environ, start_response):
    def blocks():
        ends = socket.socketpair()
        try:
            item = environ["x-wsgiorg.fdevent.readable"](ends[0])
            ends[1].send(b"one two")
            yield item
            yield ends[0].recv(100)
        finally:
            for end in ends:
                end.close()
    import socket
    start_response("200 OK", PLAIN)
    return Closing(blocks())


def at_subrequest(environ, start_response):
    def blocks():
        # One after the other: an exception for the second would leave the first to itself.
        for _ in range(2):
            sub = environ["ngx.subrequest"]("/part")
            yield b""
            part = sub()
            if part.status != 200:
                raise LookupError(f"the subrequest has ended with {part.status}")
            yield part.body
    start_response("200 OK", PLAIN)
    return Closing(blocks())


def at_part(environ, start_response):
    return answer(start_response, b"part")


def at_check(environ, start_response):
    return answer(start_response, {"bodies": len(bodies), "twice": len(closed_twice), "tokens": len(tokens)})


def application(environ, start_response):
    environ["test.token"] = Token() if environ["PATH_INFO"] != "/check" else None
    return globals()["at_" + environ["PATH_INFO"].strip("/").split("/")[0]](environ, start_response)
'''
ASYNC = '''
import asyncio
from ngx_wsgi.asyncio import get_loop, respond

LOOP = get_loop()


async def answer():
    await asyncio.sleep(0.001)
    await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0))
    return "200 OK", [("Content-Type", "text/plain")], b"one two"


def application(environ, start_response):
    return respond(environ, start_response, answer())
'''
SERVER = """
    client_body_buffer_size 16k;
    location / { wsgi_pass app.py; }
    location /buffered/ { wsgi_write_buffering on; wsgi_script_name /buffered; wsgi_pass app.py; }
    location /threads/ { wsgi_threads 2; wsgi_script_name /threads; wsgi_pass threads.py; }
    location /unbuffered/ { wsgi_threads 2; wsgi_request_buffering off; wsgi_script_name /unbuffered;
                            wsgi_pass threads.py; }
    location /interpreter/ { wsgi_use_main_interpreter off; wsgi_script_name /interpreter; wsgi_pass interpreter.py; }
    # A callback that asyncio could not note down for want of memory is lost; the limit ends what waits for it.
    location /async/ { wsgi_suspend_timeout 1s; wsgi_pass async.py; }
"""
FILE = bytes(range(256)) * 1200
SMALL, LARGE = b"x" * 9000, b"y" * 150_000


def _posted(data):
    return b"%d %d" % (len(data), zlib.crc32(data))


def _steps():
    def post(name, target, data, **more):
        return Step(name, target, _posted(data), method="POST", body=data, **more)
    yield Step("list", "/list", b"one two")
    yield Step("generator", "/generator", b"one two")
    yield Step("large", "/large", b"x" * 524288)
    yield Step("write", "/write", b"one two three")
    yield Step("file", "/file", FILE)
    yield post("post", "/post", SMALL)
    yield post("post-in-a-file", "/post", LARGE)
    yield post("post-chunked", "/post", LARGE, chunked=True)
    yield Step("error", "/error", b"", status=500)
    yield Step("late-error", "/late", None)
    yield Step("suspend", "/suspend", b"one two")
    yield Step("readable", "/readable", b"one two")
    yield Step("subrequest", "/subrequest", b"partpart")
    yield Step("asyncio", "/async/", b"one two")
    yield Step("write-buffering", "/buffered/spill", b"x" * 524288)
    yield Step("http2", "/generator", b"one two", h2=True)
    yield Step("http2-spill", "/spill", b"x" * 524288, h2=True)
    yield Step("interpreter", "/interpreter/generator", b"one two")
    yield Step("threads-list", "/threads/list", b"one two")
    yield Step("threads-large", "/threads/large", b"x" * 524288)
    yield Step("threads-write", "/threads/write", b"one two three")
    yield Step("threads-file", "/threads/file", FILE)
    yield post("threads-post-in-a-file", "/threads/post", LARGE)
    yield post("threads-unbuffered", "/unbuffered/post", LARGE)
    yield Step("threads-error", "/threads/error", b"", status=500)


STEPS = {step.name: step for step in _steps()}


class Faulty:
    """A server with the library, and the page by which it is told what is to fail."""

    def __init__(self, nginx, server=SERVER, text=APP, **options):
        self.server = made = nginx(server, start=False, **{
            "h2c": True, "check_fds": False, "check_connections": False, **options})
        folder = made.folder
        for name in ("app.py", "threads.py", "interpreter.py"):
            (folder / name).write_text(text)
        (folder / "async.py").write_text(ASYNC)
        (folder / "file").write_bytes(FILE)
        path = folder / "page"
        path.write_bytes(bytes(ctypes.sizeof(Page)))
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(Page))
        self.page = Page.from_buffer(self._map)
        made.extra_env = {**made.extra_env, "LD_PRELOAD": str(library()), "FAULTS_PAGE": str(path),
                          "FAULTS_MODULE": MODULE}
        made.start()

    # -- telling what is to fail --------------------------------------------------------------------------------

    def arm(self, fault, at, callers=("nginx", "module"), *, error=None, pid=None, lasting=False, least=0):
        page = self.page
        page.fault = 0
        page.callers = sum(CALLERS[name] for name in callers)
        page.pid = self.server.worker if pid is None else pid
        page.error = error or FAULTS[fault]
        page.at, page.lasting, page.least, page.calls, page.injected, page.count = at, lasting, least, 0, 0, 0
        # Last: this is what the library looks at first.
        page.fault = list(FAULTS).index(fault)

    def disarm(self):
        """Whether the call has failed."""
        self.page.fault = 0
        return bool(self.page.injected)

    def place(self):
        """Who made the call that failed, as far as it is the module: its functions, inner ones first."""
        page = self.page
        offsets = [hex(address - page.module - 1) for address in page.frames[:page.count]
                   if page.module and 0 < address - page.module < 1 << 26]
        if not offsets:
            return "nginx"
        done = subprocess.run(["addr2line", "-Cfise", MODULE, *offsets], capture_output=True, text=True)
        lines = done.stdout.splitlines()
        names = [f"{name} ({where})" for name, where in itertools.islice(zip(lines[::2], lines[1::2]), 60)
                 if ".rs:" in where and not re.match(r"(core|alloc|std|pyo3|<?alloc|<?core|__rust)", name)]
        return " < ".join(names[:12]) or done.stdout

    # -- looking at what came of it ------------------------------------------------------------------------------

    def warm_up(self, *steps):
        """Until the worker has what it keeps: templates of environ, a spare environ, connections, threads."""
        for _ in range(3):
            for step in steps:
                assert (said := step.ask(self.server)) == "right", f"{step.name}: {said}\n{self.server.tail()}"
        for path in ("/", "/interpreter/", "/threads/"):
            assert self.server.get(path + "list").body == b"one two", self.server.tail()
        self._start()

    def _start(self):
        self.pid = self.server.worker
        self.unclosed = 0
        # A worker that is killed takes its connections out of the count no more.
        self.active = settled(lambda: self.server.status()["active"])
        self.fds = wait_for(self._settled_fds, "a worker at rest")

    def _settled_fds(self):
        first = self._kinds()
        return first if self.server.status()["active"] == self.active and first == self._kinds() else None

    def _kinds(self):
        """What is open, as a sorted list: numbers of sockets differ."""
        return sorted(re.sub(r":\[\d+\]| \(deleted\)|/\d+$", "", target)
                      for target in open_fds(self.server.worker).values())

    def check(self, step, verdict, since):
        """What must hold after a call has failed. What the worker said if it has ended as Rust's
        programs do for want of memory."""
        server = self.server
        problems = []
        # A worker's stderr is the log.
        aborted = next((line for line in server.log()[since:].splitlines() if line.startswith(ABORTED)), None)
        if aborted:
            wait_for(lambda: not alive(self.pid), "it ends")
        if not alive(self.pid):
            if not aborted:
                problems.append("the worker has ended")
            wait_for(lambda: server._settled((self.pid,)), "another worker")
            self._start()
        if verdict not in ("right", "refused", "closed"):
            problems.append(verdict)
        lines = [found.group(2) for found in map(LOGGED.match, server.log_lines(since=since)) if found]
        if verdict != "right" and not lines and self.page.error != errno.ECONNRESET and not aborted:
            problems.append(f"{verdict}, but nothing is logged")
        # The lines of tracebacks may be like others.
        said = [line for line in lines if not re.match(r"wsgi: ( |Traceback|$)", line)]
        if len(set(said)) != len(said):
            problems.append("logged more than once: " + "\n".join(said))
        for path in ("/", "/interpreter/", "/threads/"):
            if server.get(path + "list").body != b"one two":
                problems.append(f"{path} does not answer any more")
        if not problems:
            problems += self.leftovers(since)
        if problems:
            raise NginxError(f"{step.name}, verdict {verdict}: " + "; ".join(problems) + f"\n{self.place()}\n"
                             + server.log()[since:][-6000:])
        return aborted

    def leftovers(self, since):
        """What is left in Python, of connections and of descriptors, if that does not change any more."""
        # Python found no memory for the call of close(), and said so.
        missing = len(self.server.log_lines(r"close\(\) of application .* raised MemoryError", since))
        self.unclosed += missing

        def left():
            found = []
            for path in ("/", "/interpreter/", "/threads/"):
                said = self.server.get(path + "check").json()
                # A thread may still have the environ of its last request.
                most = 2 if path == "/threads/" else 0
                if said["bodies"] not in (0, self.unclosed) or said["twice"] or said["tokens"] > most:
                    found.append(f"{path}: {json.dumps(said)}")
            if (active := self.server.status()["active"]) != self.active:
                found.append(f"{active} connections")
            if (kinds := self._kinds()) != self.fds:
                found.append(f"descriptors: {kinds}, before {self.fds}")
            return found
        try:
            wait_for(lambda: not left(), "", 3)
        except NginxError:
            return left()
        return []


def inject(faulty, step, fault, callers, *, error=None, least=0, most=2000):
    """Fails the first call of such a step, then the second, and so on until a step has no more of them.

    How often it failed how: {"right": 3, "refused": 2, "memory allocation of 62 bytes failed": 1}.
    """
    counted = {}
    for at in range(1, most):
        since = faulty.server.log_size()
        faulty.arm(fault, at, callers, error=error, least=least)
        verdict = step.ask(faulty.server)
        if not faulty.disarm():
            assert verdict == "right", verdict
            return counted
        aborted = faulty.check(step, verdict, since)
        verdict = aborted or verdict
        counted[verdict] = counted.get(verdict, 0) + 1
    raise NginxError(f"{step.name}: {fault} never stops failing")
