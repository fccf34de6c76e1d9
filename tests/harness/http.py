"""An HTTP/1 client on a raw socket: sends exactly the bytes it is given and shows exactly what came back."""

import json
import socket
import ssl
import struct
import time


class Truncated(Exception):
    """The peer closed before the message was complete. `response` holds what came, when a head came at all."""

    def __init__(self, text, response=None):
        super().__init__(text)
        self.response = response


class Response:
    """One answer. `complete` is false when the peer closed too early, `chunks` holds the sizes of its chunks."""

    def __init__(self, version, status, reason, headers, head=b""):
        self.version, self.status, self.reason, self.headers, self.head = version, status, reason, headers, head
        self.body = b""
        self.trailers = []
        self.chunks = []
        self.chunked = False
        self.complete = False
        self.interim = []

    def header(self, name, default=None):
        """The value of a header; repeated ones joined with `, `."""
        found = self.all(name)
        return ", ".join(found) if found else default

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        state = "" if self.complete else ", truncated"
        return f"<{self.status} {self.reason}, {len(self.body)} bytes{state}: {self.body[:200]!r}>"


def parse_head(head):
    lines = head.split(b"\r\n")
    version, _, rest = lines[0].partition(b" ")
    status, _, reason = rest.partition(b" ")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon:
            raise ValueError(f"not a header line: {line!r} in {head!r}")
        headers.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
    return Response(version.decode("latin-1"), int(status), reason.decode("latin-1"), headers, head)


def tls_context(alpn=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def open_socket(address, *, tls=False, timeout=10, rcvbuf=None, sndbuf=None, alpn=None, source=None):
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Before the connection: the window is agreed on in the handshake.
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if sndbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        if not isinstance(address, str):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        if source:
            sock.bind(source)
        sock.connect(address)
        if tls:
            sock = tls_context(alpn).wrap_socket(sock, server_hostname="localhost")
    except BaseException:
        sock.close()
        raise
    return sock


def build(method, target="/", headers=(), body=None, *, version="1.1", chunked=False):
    """The bytes of a request. Host and the length of a body are added where the caller gave none."""
    headers = [tuple(pair) for pair in headers]
    names = {name.lower() for name, _ in headers}
    if "host" not in names and version == "1.1":
        headers.insert(0, ("Host", "localhost"))
    if chunked:
        headers.append(("Transfer-Encoding", "chunked"))
        pieces = [body] if isinstance(body, bytes) else list(body or ())
        payload = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
    else:
        payload = body or b""
        if body is not None and "content-length" not in names:
            headers.append(("Content-Length", str(len(payload))))
    if isinstance(target, str):
        target = target.encode("latin-1")
    lines = [b"%b %b HTTP/%b" % (method.encode(), target, version.encode())]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + payload


class Connection:
    """One connection; used with `with` or closed by hand. `address` is (host, port) or the path of a socket."""

    def __init__(self, address, *, tls=False, timeout=10, rcvbuf=None, sndbuf=None, source=None):
        self.sock = open_socket(address, tls=tls, timeout=timeout, rcvbuf=rcvbuf, sndbuf=sndbuf, source=source,
                                alpn=["http/1.1"] if tls else None)
        self.buffer = b""
        self.eof = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes with RST: what the server still has to send is lost at once."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def shutdown_write(self):
        self.sock.shutdown(socket.SHUT_WR)

    # -- sending --------------------------------------------------------------------------------------------------

    def send(self, data):
        self.sock.sendall(data)

    def send_request(self, method, target="/", headers=(), body=None, *, version="1.1", chunked=False):
        self.send(build(method, target, headers, body, version=version, chunked=chunked))

    def request(self, method="GET", target="/", headers=(), body=None, *, version="1.1", chunked=False):
        """Sends and reads; raises Truncated when the answer is incomplete."""
        self.send_request(method, target, headers, body, version=version, chunked=chunked)
        return self.read_response(method)

    # -- receiving ------------------------------------------------------------------------------------------------

    def fill(self, limit=65536):
        """One recv into the buffer; false at the end. A reset counts as an end."""
        if self.eof:
            return False
        try:
            data = self.sock.recv(limit)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        self.buffer += data
        self.eof = not data
        return bool(data)

    def read_until(self, mark):
        start = 0
        while True:
            at = self.buffer.find(mark, start)
            if at >= 0:
                found, self.buffer = self.buffer[:at], self.buffer[at + len(mark):]
                return found
            start = max(0, len(self.buffer) - len(mark))
            if not self.fill():
                raise Truncated(f"closed while waiting for {mark!r}, after {self.buffer!r}")

    def read_exactly(self, size):
        pieces, have = [self.buffer], len(self.buffer)
        self.buffer = b""
        while have < size and self.fill():
            pieces.append(self.buffer)
            have += len(self.buffer)
            self.buffer = b""
        data = b"".join(pieces)
        self.buffer = data[size:]
        if len(data) < size:
            self.buffer = data
            raise Truncated(f"closed after {len(data)} of {size} bytes")
        return data[:size]

    def read_head(self, interim=False):
        """Status line and headers; 1xx answers are collected in `interim` of the final one."""
        before = []
        while True:
            response = parse_head(self.read_until(b"\r\n\r\n"))
            if interim or response.status >= 200 or response.status == 101:
                response.interim = before
                return response
            before.append(response)

    def read_response(self, method="GET", strict=True):
        """A whole answer. A truncated one raises, or is returned with `complete` false when not `strict`."""
        response = self.read_head()
        try:
            self.read_body(response, method)
        except Truncated as error:
            if strict:
                raise Truncated(f"{error}: {response!r}", response) from None
        return response

    def read_chunk(self, response):
        """The next chunk of a chunked body, as bytes; b"" after the last one."""
        size = int(self.read_until(b"\r\n").split(b";")[0], 16)
        if size:
            data = self.read_exactly(size + 2)
            assert data.endswith(b"\r\n"), data
            response.chunks.append(size)
            response.body += data[:-2]
            return data[:-2]
        while True:
            line = self.read_until(b"\r\n")
            if not line:
                response.complete = True
                return b""
            name, _, value = line.partition(b":")
            response.trailers.append((name.decode("latin-1"), value.strip().decode("latin-1")))

    def read_body(self, response, method="GET"):
        status = response.status
        response.chunked = (response.header("Transfer-Encoding") or "").lower() == "chunked"
        if method == "HEAD" or status < 200 or status in (204, 304):
            response.complete = True
        elif response.chunked:
            pieces = []
            while True:
                piece = self.read_chunk_into(response, pieces)
                if not piece:
                    break
        elif response.header("Content-Length") is not None:
            size = int(response.header("Content-Length"))
            try:
                response.body = self.read_exactly(size)
            except Truncated:
                response.body, self.buffer = self.buffer, b""
                raise
            response.complete = True
        else:
            pieces = [self.buffer]
            self.buffer = b""
            while self.fill():
                pieces.append(self.buffer)
                self.buffer = b""
            response.body = b"".join(pieces)
            response.complete = True  # nothing tells; the end of the connection is the end of the body
        return response

    def read_chunk_into(self, response, pieces):
        # Joining once keeps a long body linear.
        body, response.body = response.body, b""
        try:
            data = self.read_chunk(response)
        except Truncated as error:
            # The part of a chunk that did come belongs to the body too.
            response.body = b"".join(pieces) + body + response.body + self.buffer
            raise error
        pieces.append(body + response.body)
        response.body = b"" if data else b"".join(pieces)
        return data

    def read_rest(self):
        """Everything up to the end of the connection."""
        while self.fill():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def closed(self, timeout=5):
        """Whether the peer closes within the time, having sent nothing more."""
        old = self.sock.gettimeout()
        self.sock.settimeout(timeout)
        try:
            return not self.fill()
        except (TimeoutError, socket.timeout):
            return False
        finally:
            self.sock.settimeout(old)

    def drip(self, data, size=1, pause=0.005):
        """Sends in small pieces, each in a packet of its own."""
        for at in range(0, len(data), size):
            self.send(data[at:at + size])
            time.sleep(pause)
