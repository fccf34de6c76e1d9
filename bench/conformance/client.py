"""A client on a raw socket, which takes what comes as it comes: answers of HTTP, broken or not."""

import json
import re
import socket

from conformance.verdicts import fail
from harness import http


class Answer:
    """One answer, made of the bytes that came until the end of the connection, or until nothing more came."""

    def __init__(self, raw, method="GET", end="closed"):
        self.raw, self.end = raw, end
        self.status, self.reason, self.headers, self.body = None, None, [], b""
        self.rest, self.complete, self.chunked = b"", False, False
        while True:
            head, found, raw = raw.partition(b"\r\n\r\n")
            line = re.match(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?(?:\r\n|$)", head)
            if not line or not found:
                return
            if not line.group(1).startswith(b"1"):
                break
        self.status, self.reason = int(line.group(1)), (line.group(2) or b"").decode("latin-1")
        for field in head.split(b"\r\n")[1:]:
            name, _, value = field.partition(b":")
            self.headers.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
        self.frame(raw, method)

    def frame(self, raw, method):
        length = self.header("Content-Length")
        self.chunked = (self.header("Transfer-Encoding") or "").lower() == "chunked"
        if method == "HEAD" or self.status in (204, 304):
            self.rest, self.complete = raw, True
        elif self.chunked:
            while found := re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", raw):
                size, raw = int(found.group(1), 16), raw[found.end():]
                if not size:
                    self.complete, self.rest = raw.startswith(b"\r\n"), raw[2:]
                    return
                self.body += raw[:size]
                raw = raw[size + 2:]
        elif length is not None and length.isdecimal():
            self.body, self.rest = raw[:int(length)], raw[int(length):]
            self.complete = len(self.body) == int(length)
        else:
            self.body, self.complete = raw, self.end == "closed"

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        found = self.all(name)
        return found[0] if found else None

    def json(self):
        if self.status != 200 or not self.complete:
            fail(str(self))
        try:
            return json.loads(self.body)
        except ValueError:
            fail(str(self))

    def __str__(self):
        """What a remark says of it."""
        if not self.raw:
            return {"closed": "no answer", "reset": "no answer, connection reset",
                    "open": "no answer in time"}[self.end]
        if self.status is None:
            return f"not an answer of HTTP: {shown(self.raw)}"
        text = f"{self.status} {self.reason}".strip()
        if self.status < 300 and self.complete or self.status < 400 and self.body:
            text += f" with {shown(self.body) if self.body else 'an empty body'}"
        return text if self.complete else text + ", cut short"


def shown(data):
    text = data[:40].decode("latin-1").encode("unicode_escape").decode()
    return f"`{text}{'...' if len(data) > 40 else ''}`"


class Wire(http.Connection):
    """A connection that keeps what went over it, for people who want to see what a verdict rests on."""

    def __init__(self, transcript, *arguments, **options):
        self.transcript = transcript
        super().__init__(*arguments, **options)

    def send(self, data):
        self.transcript.append((">", bytes(data)))
        super().send(data)

    def fill(self, limit=65536):
        before = len(self.buffer)
        more = super().fill(limit)
        self.transcript.append(("<", self.buffer[before:] if more else b""))
        return more

    def read_all(self, seconds=3.0):
        """Everything until the connection ends or nothing comes for a while: (bytes, how it ended)."""
        data, self.buffer, end = self.buffer, b"", "closed"
        self.sock.settimeout(seconds)
        while True:
            try:
                piece = self.sock.recv(1 << 16)
            except (TimeoutError, socket.timeout):
                end = "open"
                break
            except OSError:
                end = "reset"
                break
            if not piece:
                break
            data += piece
        self.transcript.append(("<", data))
        self.transcript.append(("=", end.encode()))
        return data, end

    def answer(self, method="GET", seconds=3.0):
        data, end = self.read_all(seconds)
        return Answer(data, method, end)

    def waits(self, seconds=0.25):
        """What comes within a short time."""
        self.sock.settimeout(seconds)
        try:
            self.fill()
        except (TimeoutError, socket.timeout):
            pass
        return self.buffer
