"""An HTTP/2 client on the `h2` package: one connection, many streams, flow control in the hands of the test."""

import socket
import time

import h2.config
import h2.connection
import h2.events
import h2.settings
from h2.connection import ConnectionInputs, ConnectionState, H2ConnectionStateMachine

from .http import Response, open_socket

# After GOAWAY nginx lets the streams that exist come to their end; the package would refuse to hear of them.
H2ConnectionStateMachine._transitions[ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY] = \
    (None, ConnectionState.CLIENT_OPEN)


class Stream(Response):
    """The answer on one stream. `reset` is the code of RST_STREAM, `held` the bytes not acknowledged yet."""

    def __init__(self, number):
        super().__init__("HTTP/2", None, "", [])
        self.number = number
        self.body = bytearray()  # grows in place: bytes would be copied whole with every frame
        self.reset = None
        self.held = 0
        self.frames = []
        self.sent_by_peer = 0


class H2Connection:
    """`window` is the initial window of each stream; with `hold` nothing is acknowledged until `release()`."""

    def __init__(self, address, *, tls=False, timeout=10, window=None, hold=False, rcvbuf=None):
        self.timeout = timeout
        self.hold = hold
        self.sock = open_socket(address, tls=tls, timeout=timeout, alpn=["h2"] if tls else None, rcvbuf=rcvbuf)
        if tls:
            assert self.sock.selected_alpn_protocol() == "h2"
        self.scheme = "https" if tls else "http"
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1",
                                           validate_outbound_headers=False, normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        if window is not None:
            self.h2.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.initiate_connection()
        self.streams = {}
        self.goaway = None
        self.unparsed = b""
        self.eof = False
        self.connection_held = 0
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    # -- asking ---------------------------------------------------------------------------------------------------

    def send_request(self, method="GET", target="/", headers=(), body=None, *, end=True, authority="localhost"):
        """Opens a stream; with `end=False` the body goes on with `send_data`. The Stream."""
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(number)
        fields = [(":method", method), (":scheme", self.scheme), (":authority", authority), (":path", target)]
        fields += [(name.lower(), value) for name, value in headers]
        self.h2.send_headers(number, fields, end_stream=end and not body)
        self.flush()
        if body:
            self.send_data(stream, body, end=end)
        return stream

    def send_data(self, stream, data, end=False):
        while data:
            room = min(self.h2.local_flow_control_window(stream.number), self.h2.max_outbound_frame_size)
            if room <= 0:
                if not self.pump() or stream.reset is not None:
                    return
                continue
            self.h2.send_data(stream.number, data[:room])
            data = data[room:]
            self.flush()
        if end:
            self.h2.end_stream(stream.number)
            self.flush()

    def reset(self, stream, code=8):
        """RST_STREAM, CANCEL unless told otherwise."""
        self.h2.reset_stream(stream.number, code)
        self.flush()

    def release(self, stream=None, amount=None):
        """Acknowledges bytes that were held: of one stream, or of all."""
        for one in [stream] if stream else list(self.streams.values()):
            size = min(one.held, amount) if amount is not None else one.held
            if size and not one.complete and one.reset is None:
                self.h2.acknowledge_received_data(size, one.number)
                one.held -= size
            elif size:
                self.h2.increment_flow_control_window(size)
                one.held -= size
        self.flush()

    # -- hearing --------------------------------------------------------------------------------------------------

    def pump(self):
        """Takes what the socket has; false at the end of the connection."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.eof = True
            return False
        for event in self.h2.receive_data(self._without_goaway(data)):
            self._take(event)
        self.flush()
        return True

    def _without_goaway(self, data):
        """Whole frames only. GOAWAY is noted here: after a graceful one streams go on, but `h2` would refuse them."""
        self.unparsed += data
        passed = b""
        while len(self.unparsed) >= 9:
            size = 9 + int.from_bytes(self.unparsed[:3], "big")
            if len(self.unparsed) < size:
                break
            frame, self.unparsed = self.unparsed[:size], self.unparsed[size:]
            if frame[3] == 7:
                self.goaway = int.from_bytes(frame[13:17], "big")
            else:
                passed += frame
        return passed

    def _take(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            fields = [(_text(name), _text(value)) for name, value in event.headers]
            stream.status = int(fields[0][1])
            stream.headers = fields[1:]
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append(dict((_text(n), _text(v)) for n, v in event.headers))
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = [(_text(n), _text(v)) for n, v in event.headers]
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
            stream.frames.append(len(event.data))
            if self.hold:
                stream.held += event.flow_controlled_length
            elif event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream.number)
        elif isinstance(event, h2.events.StreamEnded):
            stream.complete = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code

    def wait(self, condition, what="an event", timeout=None):
        """Pumps until `condition()` holds."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"HTTP/2: no {what}")
            self.sock.settimeout(left)
            try:
                if not self.pump():
                    if condition():
                        return
                    raise ConnectionError(f"HTTP/2 connection closed while waiting for {what}")
            except (TimeoutError, socket.timeout):
                raise TimeoutError(f"HTTP/2: no {what}") from None

    def finish(self, *streams):
        """Waits until the streams are complete or reset."""
        for stream in streams:
            self.wait(lambda: stream.complete or stream.reset is not None, f"end of stream {stream.number}")
        return streams[0] if len(streams) == 1 else streams

    def request(self, method="GET", target="/", headers=(), body=None, **more):
        return self.finish(self.send_request(method, target, headers, body, **more))

    def quiet(self, seconds=0.2):
        """Pumps until nothing came for a moment: what the peer can send under the present windows is here."""
        while True:
            self.sock.settimeout(seconds)
            try:
                if not self.pump():
                    return
            except (TimeoutError, socket.timeout):
                return
            finally:
                self.sock.settimeout(self.timeout)


def _text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value
