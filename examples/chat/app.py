"""A chat by long polling: GET news?since=N is answered when there is more than the first N bytes of the talk.

The talk is a file, one line of JSON for each message, which all workers append to and read; its length is the number
that browsers ask with. What is left is to tell those who wait in other workers. For that each worker has a socket, and
a thread that sits at it. The thread stands for whatever brings news to a real site and can only block: a client of
Redis, of RabbitMQ, `LISTEN` of PostgreSQL. It touches no request; it posts a call to nginx's thread.
"""

import atexit
import json
import os
import pathlib
import socket
import threading
from urllib.parse import parse_qs

import ngx_reactor

FOLDER = pathlib.Path(os.environ["EXAMPLES_RUN"]) / "chat"
PAGE = pathlib.Path(__file__).with_name("page.html")
# So long a request waits for news, in milliseconds.
PATIENCE = 25_000
LONGEST = 2000


class Room:
    """The talk as this worker sees it; made at the first request, in nginx's thread, like everything but listen()."""

    def __init__(self):
        FOLDER.mkdir(exist_ok=True)
        # O_APPEND: messages of several workers come one after the other.
        self.file = open(FOLDER / "talk", "a+b", buffering=0)
        self.waiting = set()
        self.address = FOLDER / f"{os.getpid()}.sock"
        self.address.unlink(missing_ok=True)
        self.bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.bell.bind(str(self.address))
        atexit.register(self.address.unlink, missing_ok=True)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        """In a thread of its own: waits for a ring, which may take long, and has nginx's thread do the rest."""
        while True:
            self.bell.recv(1)
            ngx_reactor.post(self.wake)

    def wake(self):
        """In nginx's thread. resume() only marks those who wait, they run when this has returned."""
        for resume in self.waiting:
            resume()
        self.waiting.clear()

    def say(self, name, text):
        line = json.dumps({"name": name, "text": text}) + "\n"
        self.file.write(line.encode())
        for address in FOLDER.glob("*.sock"):
            try:
                self.bell.sendto(b"!", socket.MSG_DONTWAIT, str(address))
            except ConnectionRefusedError:
                address.unlink(missing_ok=True)         # of a worker that has crashed
            except OSError:
                pass                                    # it has been rung already, or is just ending

    def length(self):
        return os.fstat(self.file.fileno()).st_size

    def since(self, start):
        """The messages after so many bytes, and the number to ask with next."""
        data = os.pread(self.file.fileno(), 1 << 20, start)
        data = data[:data.rfind(b"\n") + 1]
        return [json.loads(line) for line in data.splitlines()], start + len(data)


room = None


def application(environ, start_response):
    global room
    room = room or Room()
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if (method, path) == ("POST", "/say"):
        form = parse_qs(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode("utf-8", "replace"))
        name, text = (form.get(field, [""])[0].strip()[:LONGEST] for field in ("name", "text"))
        if text:
            room.say(name or "somebody", text)
        start_response("303 See Other", [("Location", "."), ("Content-Type", "text/plain")])
        return []
    if path == "/news":
        return news(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [PAGE.read_bytes()]


def news(environ, start_response):
    """A generator, so that it can wait."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    asked = parse_qs(environ["QUERY_STRING"]).get("since", ["0"])[0]
    start = int(asked) if asked.isascii() and asked.isdigit() else 0
    start = min(start, room.length())
    if start == room.length():
        resume = environ["wsgi.pause_output"]()
        room.waiting.add(resume)
        timer = ngx_reactor.add_timer(resume, PATIENCE)
        try:
            yield b""
        finally:
            # Resumed, or the client has left: either way nobody has to wake it any more.
            ngx_reactor.del_timer(timer)
            room.waiting.discard(resume)
    messages, following = room.since(start)
    yield json.dumps({"messages": messages, "next": following}).encode()

