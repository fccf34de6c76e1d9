"""HTTP/2 frames by hand, for clients that do not keep the rules; harness/h2client.py is the one that does."""

import contextlib
import struct
import time

from .http import open_socket
from .nginx import SLOW

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value):
    assert len(value) < 127
    return bytes([len(value)]) + value


def fields(path=b"/", method=b"GET", more=()):
    """A block of headers that needs no table: literals that are never indexed."""
    block = b"\x02" + text(method) + b"\x86\x04" + text(path) + b"\x01" + text(b"localhost")
    return block + b"".join(b"\x00" + text(name) + text(value) for name, value in more)


def request(stream, path=b"/", flags=END_STREAM | END_HEADERS, **more):
    return frame(HEADERS, flags, stream, fields(path, **more))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(**values):
    numbers = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "list": 6}
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


def window(stream, size):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


class RawH2:
    """One connection. What comes back is collected by `listen`, and nothing is answered by itself."""

    def __init__(self, server, **initial):
        self.sock = open_socket(("127.0.0.1", server.h2c_port))
        server.clients.append(self)
        self.unparsed = b""
        self.frames = []
        self.ended = False
        self.send(PREFACE, settings(**initial))

    def send(self, *frames):
        """False once nginx has closed. What it says meanwhile is read, so that neither waits for the other."""
        data = memoryview(b"".join(frames))
        deadline = time.monotonic() + 20 * SLOW
        self.sock.setblocking(False)
        while data and not self.ended:
            with contextlib.suppress(BlockingIOError):
                try:
                    data = data[self.sock.send(data):]
                except (ConnectionResetError, BrokenPipeError):
                    self.ended = True
            self._read()
            assert time.monotonic() < deadline, f"nginx takes no more, {len(data)} bytes are left"
        return not self.ended

    def _read(self):
        self.sock.setblocking(False)
        while True:
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                return
            except (ConnectionResetError, BrokenPipeError):
                data = b""
            if not data:
                self.ended = True
                return
            self.unparsed += data
            at = 0
            while len(self.unparsed) - at >= 9:
                size = int.from_bytes(self.unparsed[at:at + 3], "big")
                if len(self.unparsed) - at < 9 + size:
                    break
                kind, flags, stream = struct.unpack(">BBI", self.unparsed[at + 3:at + 9])
                self.frames.append((kind, flags, stream, self.unparsed[at + 9:at + 9 + size]))
                at += 9 + size
            self.unparsed = self.unparsed[at:]

    def came(self, kind, stream=None):
        """The frames of a kind that have come until now, as (flags, stream, payload)."""
        self._read()
        return [found[1:] for found in self.frames if found[0] == kind and stream in (None, found[2])]

    def goaway(self):
        """The code of GOAWAY, None without one."""
        found = self.came(GOAWAY)
        return int.from_bytes(found[-1][2][4:8], "big") if found else None

    def over(self):
        self._read()
        return self.ended

    def close(self):
        self.sock.close()
