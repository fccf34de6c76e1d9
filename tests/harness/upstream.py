"""An HTTP server of the test's own on 127.0.0.1, for applications that are clients: slow where the test wants it.

It runs in threads of the test's process. A test lets requests go on by `let(name)`, and sees what came by `arrived`,
`gone` and `connections`. Paths:

/wait?NAME      answers with NAME once the test called `let(NAME)`
/stream?NAME    chunks "0", "1", ...: one at once, one for each `let(NAME)`, the end after `finish(NAME)`
/bytes?SIZE     so many bytes, with a Content-Length
/cut            less than its Content-Length says, then the connection is closed
/echo           method, headers and body of the request, as JSON
"""

import collections
import contextlib
import http.server
import json
import select
import ssl
import subprocess
import threading

from .nginx import SLOW, wait_for


class Upstream:
    """Serves from `__enter__` to `__exit__`; with `tls`, a pair of files, by HTTPS."""

    def __init__(self, tls=None):
        self.lock = threading.Condition()
        self.allowed = collections.Counter()
        self.finished = set()
        self.arrived = []
        self.gone = []
        self.connections = 0
        self.leaving = False
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.upstream = self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            # The handshake is done by the thread of the connection, at its first read.
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), name="upstream")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        with self.lock:
            self.leaving = True
            self.lock.notify_all()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def let(self, name, times=1):
        """Lets whoever waits for `name` go on, now or when he comes."""
        with self.lock:
            self.allowed[name] += times
            self.lock.notify_all()

    def finish(self, name):
        with self.lock:
            self.finished.add(name)
            self.lock.notify_all()

    def wait_arrived(self, *names):
        """Waits until requests for all these names are here at once."""
        wait_for(lambda: not set(names) - set(self.arrived), lambda: f"requests {names}: {self.arrived}")

    def wait_gone(self, *names):
        """Waits until the clients of these requests closed their connections before they were answered."""
        wait_for(lambda: not set(names) - set(self.gone), lambda: f"clients left {names}: {self.gone}")

    def _wait(self, name, connection, turn):
        """Whether `name` was allowed `turn` times; false where the client has left, or it is finished."""
        while True:
            with self.lock:
                if self.allowed[name] >= turn:
                    return True
                if self.leaving or name in self.finished:
                    return False
                self.lock.wait(0.02)
            # Nothing more can come from a client that waits: if there is something to read, it is the end.
            if select.select([connection], [], [], 0)[0]:
                with self.lock:
                    self.gone.append(name)
                return False


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True
    block_on_close = False

    def process_request(self, request, client_address):
        self.upstream.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """Clients that leave, and those that do not trust us, are meant to be there."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30 * SLOW
    # An answer in two writes would wait for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        """The tests look at what arrived, not at a log."""

    def do_GET(self):
        path, _, self.name = self.path.partition("?")
        with self.server.upstream.lock:
            self.server.upstream.arrived.append(self.name)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            getattr(self, "on_" + path.strip("/"))(self.server.upstream)
            self.wfile.flush()

    do_POST = do_GET

    def answer(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def on_wait(self, upstream):
        if upstream._wait(self.name, self.connection, 1):
            self.answer(self.name.encode())
        else:
            self.close_connection = True

    def on_stream(self, upstream):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        number = 0
        while True:
            block = b"%d" % number
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            self.wfile.flush()
            number += 1
            if not upstream._wait(self.name, self.connection, number):
                break
        if self.name in upstream.finished:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def on_bytes(self, _):
        self.answer(b"x" * int(self.name))

    def on_cut(self, _):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"only this")
        self.close_connection = True

    def on_echo(self, _):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.answer(json.dumps({"method": self.command, "headers": dict(self.headers),
                                "body": body.decode("latin-1")}).encode(), "application/json")


def authority(folder):
    """A certificate authority and a certificate of it for localhost, made now: (authority, (certificate, key))."""
    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=authority of a test", "-keyout", "ca.key", "-out",
            "ca.crt", "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", *key, "-subj", "/CN=localhost", "-keyout", "leaf.key", "-out", "leaf.csr")
    (folder / "leaf.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "leaf.ext", "-out", "leaf.crt")
    return folder / "ca.crt", (folder / "leaf.crt", folder / "leaf.key")
