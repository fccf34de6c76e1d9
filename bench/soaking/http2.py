"""A visitor over HTTP/2: several questions at once on one connection, some given up."""

from harness.h2client import H2Connection

from . import app
from .clients import Visitor, Wrong, check, question, some_size


class Streams(Visitor):
    kind = "HTTP/2"
    pause = 0.1

    def visit(self):
        dice, server = self.dice, self.server
        tls = dice.random() < 0.5
        port = server.tls_port if tls else server.h2c_port
        with H2Connection(("127.0.0.1", port), tls=tls, timeout=40) as connection:
            for _ in range(dice.randrange(1, 6)):
                self.burst(connection)
                if connection.goaway is not None:
                    return

    def burst(self, connection):
        dice = self.dice
        asked = []
        try:
            for _ in range(dice.randrange(1, 12)):
                seed, size = dice.randrange(1 << 30), some_size(dice)
                way = dice.choice(("whole", "generated", "written", "filed"))
                stream = connection.send_request("GET", question(seed, size, dice.choice(("plain", "buffered")), way))
                asked.append((stream, seed, size, way))
            for stream, seed, size, way in asked:
                if dice.random() < 0.15 and not stream.complete:
                    connection.reset(stream)
                    stream.reset = "by us"
                    continue
                connection.finish(stream)
        except (ConnectionError, OSError):
            # A worker that quits says which streams it has taken; the others may be asked again.
            if connection.goaway is None:
                raise
        for stream, seed, size, way in asked:
            if stream.reset == "by us":
                self.count("left")
            elif connection.goaway is not None and stream.number > connection.goaway:
                self.count("asked again")
            elif not stream.complete:
                raise Wrong(f"stream {stream.number} ended by {stream.reset}, GOAWAY {connection.goaway}")
            else:
                check(stream, seed, size, max(0, len(app.STOCK) - size) if way == "filed" else None)
                self.count("right")
