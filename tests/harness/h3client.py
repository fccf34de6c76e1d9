"""HTTP/3 requests by aioquic, wrapped so that a plain test can use them."""

import asyncio
import ssl

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

from .http import Response


class _Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.ends = {}

    def send(self, method, target, headers=(), body=None, authority="localhost"):
        number = self._quic.get_next_available_stream_id()
        answer = self.answers[number] = Response("HTTP/3", None, "", [])
        answer.body = bytearray()  # grows in place
        answer.reset = None
        self.ends[number] = self._loop.create_future()
        fields = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", target)]
        fields += [(name.lower(), value) for name, value in headers]
        self.http.send_headers(number, [(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields],
                               end_stream=not body)
        if body:
            self.http.send_data(number, body, end_stream=True)
        self.transmit()
        return answer, self.ends[number], number

    def quic_event_received(self, event):
        if isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].reset = event.error_code
            self._done(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            for number in self.answers:
                self._done(number)
        for got in self.http.handle_event(event):
            answer = self.answers.get(getattr(got, "stream_id", None))
            if answer is None:
                continue
            if isinstance(got, HeadersReceived):
                fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in got.headers]
                if fields and fields[0][0] == ":status":
                    answer.status, answer.headers = int(fields[0][1]), fields[1:]
                else:
                    answer.trailers = fields
            elif isinstance(got, DataReceived):
                answer.body += got.data
            if got.stream_ended:
                answer.complete = True
                self._done(got.stream_id)

    def _done(self, number):
        if not self.ends[number].done():
            self.ends[number].set_result(None)


def fetch(host, port, requests, *, timeout=10, cancel_after=None):
    """Sends all requests at once, each a tuple (method, target[, headers[, body]]), and returns their answers.

    With `cancel_after=N` the connection is closed as soon as N bytes of body came in all.
    """
    config = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE,
                               server_name="localhost")

    async def run():
        async with connect(host, port, configuration=config, create_protocol=_Client) as client:
            sent = [client.send(*request) for request in requests]
            if cancel_after is not None:
                while sum(len(answer.body) for answer, _, _ in sent) < cancel_after:
                    await asyncio.sleep(0.005)
            else:
                await asyncio.gather(*(end for _, end, _ in sent))
            return [answer for answer, _, _ in sent]

    answers = asyncio.run(asyncio.wait_for(run(), timeout))
    return answers[0] if len(answers) == 1 else answers
