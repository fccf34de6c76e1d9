"""The visitors of the soak test. Each is a thread that does one kind of thing until it is told to stop.

Every answer is compared with what the question asks for. What went wrong is counted, and the first ones are kept.
"""

import collections
import random
import threading
import time
import zlib

from harness.http import Connection, Truncated, build

from . import app


class Wrong(Exception):
    """An answer that is not what was asked for."""


class Tally:
    """What all visitors have seen, by kind."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.defaultdict(collections.Counter)
        self.failures = []

    def add(self, kind, what, count=1):
        with self.lock:
            self.counts[kind][what] += count

    def fail(self, kind, text):
        with self.lock:
            self.counts[kind]["failed"] += 1
            if len(self.failures) < 50:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {kind}: {text}"[:400])


class Visitor(threading.Thread):
    """`kind` names it in the table. One turn is one visit; it may raise whatever it likes."""

    kind = ""
    # Seconds between two visits, at most.
    pause = 0.01

    def __init__(self, server, stop, tally, seed):
        super().__init__(daemon=True)
        self.server, self.stop, self.tally = server, stop, tally
        self.dice = random.Random(seed)
        self.connection = None
        self.used = False

    def run(self):
        while not self.stop.is_set():
            try:
                self.visit()
            except Exception as error:
                self.tally.fail(f"{self.kind}", f"{self.server.name}: {type(error).__name__}: {error}")
                self.leave()
            self.stop.wait(self.dice.uniform(0, self.pause))
        self.leave()

    def visit(self):
        raise NotImplementedError

    def count(self, what, count=1):
        self.tally.add(self.kind, what, count)

    # -- connections ----------------------------------------------------------------------------------------------

    def come(self, **options):
        """A new connection, one in four over TLS."""
        self.leave()
        tls = self.dice.random() < 0.25
        self.connection = Connection(("127.0.0.1", self.server.tls_port if tls else self.server.port), tls=tls,
                                     timeout=40, **options)
        self.used = False
        return self.connection

    def leave(self, reset=False):
        if self.connection:
            self.connection.reset() if reset else self.connection.close()
        self.connection = None

    def ask(self, target, **more):
        """An answer on the connection that is there, or on a new one. None: it was closed while it was idle, which a
        server may do at any time, and the question has to be asked again."""
        if self.connection is None:
            self.come()
        reused, self.used = self.used, True
        try:
            answer = self.connection.request("GET", target, **more)
        except (Truncated, ConnectionError) as error:
            silent = not self.connection.buffer and getattr(error, "response", None) is None
            self.leave()
            if reused and silent:
                self.count("asked again")
                return None
            raise
        if (answer.header("Connection") or "").lower() == "close":
            self.leave()
        return answer


def question(seed, size, location="plain", way="whole"):
    return f"/{location}/{way}?seed={seed}&size={size}"


def check(answer, seed, size, start=None):
    """Status, the seed, and every byte."""
    if answer.status != 200:
        raise Wrong(f"status {answer.status} for seed {seed}, size {size}: {bytes(answer.body[:80])!r}")
    if answer.header("X-Seed", answer.header("x-seed")) != str(seed):
        raise Wrong(f"the answer to another question: {answer.headers}, seed {seed}")
    wanted = app.piece(seed, 0, size) if start is None else app.STOCK[start:]
    if bytes(answer.body) != wanted:
        raise Wrong(f"seed {seed}: {len(answer.body)} bytes of {len(wanted)}, "
                    f"different from byte {difference(bytes(answer.body), wanted)} on")


def difference(one, other):
    return next((at for at, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), min(len(one), len(other)))


def some_size(dice):
    return dice.choice((0, 1, 13, 1000, 1000, 5000, 20000, 60000, 70000, 300000, 1000000))


# -- those who behave -----------------------------------------------------------------------------------------------

class Reader(Visitor):
    """Pages of all sizes and kinds, on keep-alive connections."""

    kind = "pages"

    def visit(self):
        seed, size = self.dice.randrange(1 << 30), some_size(self.dice)
        location = self.dice.choice(("plain", "plain", "plain", "buffered", "spooled"))
        way = self.dice.choice(("whole", "whole", "whole", "generated", "written", "filed"))
        answer = self.ask(question(seed, size, location, way))
        if answer is None:
            return
        check(answer, seed, size, max(0, len(app.STOCK) - size) if way == "filed" else None)
        self.count("right")
        if self.dice.random() < 0.02:
            self.leave()


class Zipped(Visitor):
    kind = "gzip"
    pause = 0.1

    def visit(self):
        seed, size = self.dice.randrange(1 << 30), some_size(self.dice)
        answer = self.ask(question(seed, size, "zipped", "generated"), headers=[("Accept-Encoding", "gzip")])
        if answer is None:
            return
        if answer.header("Content-Encoding") == "gzip":
            answer.body = zlib.decompress(answer.body, 31)
        check(answer, seed, size)
        self.count("right")


class Waiter(Visitor):
    """Pages that take their time."""

    kind = "waiting"

    def visit(self):
        seed = self.dice.randrange(1 << 30)
        answer = self.ask(question(seed, self.dice.choice((1, 10, 50, 200)), "plain", "waiting"))
        if answer is not None:
            check(answer, seed, 100)
            self.count("right")


class Uploader(Visitor):
    """Bodies with a length and in chunks, at once and in pieces, read while they arrive and afterwards."""

    kind = "uploads"
    pause = 0.05
    locations = ("plain",)

    def visit(self):
        seed, size = self.dice.randrange(1 << 30), some_size(self.dice)
        body = app.piece(seed, 0, size)
        connection = self.come()
        target = question(seed, size, self.dice.choice(self.locations), "received")
        request = build("POST", target, [("Connection", "close")], body, chunked=self.dice.random() < 0.4)
        if self.dice.random() < 0.3:
            step = max(1, len(request) // self.dice.randrange(2, 8))
            for at in range(0, len(request), step):
                connection.send(request[at:at + step])
                time.sleep(self.dice.uniform(0, 0.05))
        else:
            connection.send(request)
        answer = connection.read_response("POST")
        wanted = f"{size} {zlib.crc32(body):08x}".encode()
        if answer.status != 200 or answer.body != wanted:
            raise Wrong(f"{target}: {answer} instead of {wanted}")
        self.leave()
        self.count("right")


class Streamed(Uploader):
    kind = "unbuffered uploads"
    locations = ("unbuffered",)


class Asker(Visitor):
    """Asks for errors, and gets those."""

    kind = "asked errors"
    pause = 0.2

    def visit(self):
        seed = self.dice.randrange(1 << 30)
        if self.dice.random() < 0.5:
            answer = self.ask(question(seed, 0, "plain", "failing"))
            if answer is None:
                return
            if answer.status != 500:
                raise Wrong(f"{answer} instead of 500")
            self.count("500, asked for")
        else:
            connection = self.come()
            try:
                connection.request("GET", question(seed, 100000, "plain", "breaking"), [("Connection", "close")])
            except Truncated as error:
                got = error.response
                if got is None or not app.piece(seed, 0, 50000).startswith(got.body):
                    raise Wrong(f"broken off with wrong bytes: {got}") from None
                self.leave()
                self.count("cut off, asked for")
            else:
                raise Wrong("a complete answer where it breaks off")


class Crowd(Visitor):
    """Too many for one thread and a queue of one: 200 or 503."""

    kind = "full queue"
    pause = 0.3

    def visit(self):
        seed = self.dice.randrange(1 << 30)
        connections = [Connection(("127.0.0.1", self.server.port), timeout=40) for _ in range(6)]
        try:
            for connection in connections:
                connection.send_request("GET", question(seed, 30, "narrow", "waiting"), [("Connection", "close")])
            for connection in connections:
                answer = connection.read_response()
                if answer.status == 503 and answer.header("Retry-After") == "1":
                    self.count("503, asked for")
                else:
                    check(answer, seed, 100)
                    self.count("right")
        finally:
            for connection in connections:
                connection.close()


class Overdue(Visitor):
    """Asks for what takes too long: 504."""

    kind = "time limit"
    pause = 1
    way = "looping"

    def visit(self):
        seed = self.dice.randrange(1 << 30)
        answer = self.come().request("GET", question(seed, 0, "timed", self.way), [("Connection", "close")])
        self.leave()
        if answer.status != 504:
            raise Wrong(f"{answer} instead of 504")
        self.count("504, asked for")


class Stuck(Overdue):
    """The same in C: the worker is replaced afterwards. Only for the server whose workers come and go anyway."""

    kind = "stuck in C"
    pause = 60
    way = "stuck"


# -- those who do not -----------------------------------------------------------------------------------------------

class Dawdler(Visitor):
    """Takes its bytes slowly, but all of them."""

    kind = "slow readers"
    pause = 0.1

    def visit(self):
        seed, size = self.dice.randrange(1 << 30), self.dice.choice((100000, 300000, 1000000))
        location, way = self.dice.choice(("plain", "buffered")), self.dice.choice(("whole", "generated", "written"))
        connection = self.come(rcvbuf=self.dice.choice((4096, 65536)))
        connection.send_request("GET", question(seed, size, location, way), [("Connection", "close")])
        answer = connection.read_head()
        end = time.monotonic() + self.dice.uniform(0.5, 6)
        while time.monotonic() < end and connection.fill(4096):
            time.sleep(0.03)
        check(connection.read_body(answer), seed, size)
        self.leave()
        self.count("right")


class Leaver(Visitor):
    """Leaves at a random point: in the head, in a body, while it waits, in the middle of an answer."""

    kind = "leave"
    pause = 0.05
    locations = ("plain", "buffered", "spooled", "zipped")

    def visit(self):
        dice = self.dice
        seed, size = dice.randrange(1 << 30), dice.choice((1000, 100000, 1000000, 3000000))
        way = dice.choice(("whole", "generated", "written", "waiting", "filed", "received"))
        if way == "waiting":
            size = dice.choice((10, 100, 500))
        connection = self.come(rcvbuf=dice.choice((None, 4096)))
        body = app.piece(seed, 0, min(size, 1000000)) if way == "received" else None
        request = build("POST" if body else "GET", question(seed, size, dice.choice(self.locations), way), (), body,
                        chunked=bool(body) and dice.random() < 0.3)
        try:
            if dice.random() < 0.3:
                connection.send(request[:dice.randrange(1, len(request))])
            else:
                connection.send(request)
                if way in ("whole", "generated", "written") and dice.random() < 0.8:
                    self.prefix(connection, seed, size)
                else:
                    time.sleep(dice.uniform(0, 0.05))
        finally:
            self.leave(reset=dice.random() < 0.5 and not hasattr(connection.sock, "context"))
        self.count("left")

    def prefix(self, connection, seed, size):
        """A part of the answer, which has to be right as far as it goes."""
        answer = connection.read_head()
        if answer.status != 200:
            raise Wrong(f"status {answer.status}")
        if answer.header("Content-Length") is None or answer.header("Content-Encoding"):
            return
        part = connection.read_exactly(self.dice.randrange(0, size + 1))
        if part != app.piece(seed, 0, len(part)):
            raise Wrong(f"seed {seed}: wrong bytes before it left")


class Quitter(Leaver):
    """Leaves where the work ends with that."""

    kind = "leave, cancelled"
    pause = 0.2
    locations = ("cancelled",)
