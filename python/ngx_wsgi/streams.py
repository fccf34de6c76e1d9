"""sys.stdout and sys.stderr of a worker: text goes to nginx's error log, line by line."""

import io
import sys
import threading


class LogStream(io.TextIOBase):
    """A text stream whose lines become lines of the error log.

    A line is logged when it is complete, and an incomplete one on flush().
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, name, log):
        self.name = name
        self.mode = "w"
        self._log = log
        self._pending = b""
        # Reentrant: the collector may run a destructor that prints while this thread is printing.
        self._lock = threading.RLock()
        self.buffer = _Bytes(self)

    def writable(self):
        return True

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.write_bytes(text.encode(self.encoding, self.errors))
        return len(text)

    def write_bytes(self, data):
        with self._lock:
            *lines, self._pending = (self._pending + data).split(b"\n")
            for line in lines:
                self._log(line)

    def flush(self):
        with self._lock:
            pending, self._pending = self._pending, b""
            if pending:
                self._log(pending)


class _Bytes(io.RawIOBase):
    """The `buffer` of a LogStream, for those who write bytes to sys.stdout.buffer."""

    def __init__(self, stream):
        self._stream = stream

    def writable(self):
        return True

    def write(self, data):
        data = bytes(data)
        self._stream.write_bytes(data)
        return len(data)

    def flush(self):
        self._stream.flush()


def install(log):
    """Replaces sys.stdout and sys.stderr; log(line: bytes) writes one line to the error log."""
    sys.stdout = sys.__stdout__ = LogStream("<stdout>", log)
    sys.stderr = sys.__stderr__ = LogStream("<stderr>", log)
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
