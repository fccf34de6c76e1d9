"""A small proxy: asks another server, waits for its socket without blocking, and passes the answer on as it comes.

nginx has proxy_pass for this. The example shows how to use a client that never waits by itself but says what it waits
for: `poll()` with three answers, the protocol of psycopg2's asynchronous connections and of libpq. `wait()` below
works with such a connection as it is; only Upstream would be replaced.
"""

import http.client
import io
import os
import socket
from urllib.parse import quote

# The same numbers as in psycopg2.extensions.
POLL_OK, POLL_READ, POLL_WRITE = 0, 1, 2

# Longest silence of the other server, in seconds.
PATIENCE = 20.0

# Headers that speak of a connection and not of what comes through it.
OF_THE_CONNECTION = {"connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"}


def application(environ, start_response):
    # "/proxy/hello" is "/hello" there. nginx has decoded the path, but not the query.
    target = quote(environ["PATH_INFO"], encoding="latin-1")
    if environ["QUERY_STRING"]:
        target += "?" + environ["QUERY_STRING"]
    upstream = Upstream(environ["proxy.upstream"], target)
    try:
        try:
            yield from wait(environ, upstream)
        except OSError as error:
            status = "504 Gateway Timeout" if isinstance(error, TimeoutError) else "502 Bad Gateway"
            start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            yield f"The other server: {error}\n".encode()
            return
        start_response(upstream.status, upstream.headers)
        while block := upstream.block:
            yield block
            upstream.next()
            # An error from here on cuts the response off, and the client knows that something is missing.
            yield from wait(environ, upstream)
    finally:
        upstream.close()


def wait(environ, connection):
    """Yields empty blocks, and is suspended in each, until the connection has what was asked of it."""
    while (state := connection.poll()) != POLL_OK:
        direction = "readable" if state == POLL_READ else "writable"
        yield environ[f"x-wsgiorg.fdevent.{direction}"](connection, PATIENCE)
        if environ["x-wsgiorg.fdevent.timeout"]:
            raise TimeoutError(f"silent for {PATIENCE:g} s")


class Upstream:
    """One GET request to "host:port". `poll()` does what can be done without waiting."""

    def __init__(self, address, target):
        host, _, port = address.rpartition(":")
        self.status = self.headers = self.block = None
        self.sending = f"GET {target} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode("latin-1")
        self.received = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        # Names take a while to be resolved, and would block here: this is for addresses.
        self.socket.connect_ex((host, int(port)))
        self.connecting = True

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()

    def next(self):
        """Asks for the next block of the body; an empty one is the end."""
        self.block = None

    def poll(self):
        """POLL_OK: there is a block, and before the first one status and headers. Raises OSError."""
        try:
            while self.block is None:
                if self.connecting:
                    return self.connected()
                elif self.sending:
                    self.sending = self.sending[self.socket.send(self.sending):]
                else:
                    self.take(self.socket.recv(65536))
        except BlockingIOError:
            return POLL_WRITE if self.sending else POLL_READ
        return POLL_OK

    def connected(self):
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        try:
            self.socket.getpeername()
        except OSError:
            return POLL_WRITE                           # not yet
        self.connecting = False
        return self.poll()

    def take(self, data):
        if self.headers is not None:
            self.block = data
            return
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if end:
            line, _, fields = head.partition(b"\r\n")
            self.status = line.decode("latin-1").partition(" ")[2]
            found = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
            self.headers = [(name, value) for name, value in found.items() if name.lower() not in OF_THE_CONNECTION]
            self.block = rest or None
        elif not data or len(self.received) > 65536:
            raise OSError("sends no HTTP")
