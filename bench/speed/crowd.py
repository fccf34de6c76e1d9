"""Thousands of visitors at once, from one thread: they connect, ask, and read their answers or leave."""

import select
import socket
import time

from .settings import Failed

# Connections that are asked for at a time: fewer than nginx's queue for them takes.
AT_A_TIME = 200


class Crowd:
    def __init__(self, port, count):
        self.sockets = {}
        for _ in range(0, count, AT_A_TIME):
            for _ in range(min(AT_A_TIME, count - len(self.sockets))):
                sock = socket.create_connection(("127.0.0.1", port), 10)
                sock.setblocking(False)
                self.sockets[sock.fileno()] = sock

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leave()

    def ask(self, path):
        for sock in self.sockets.values():
            sock.send(get(path))

    def ask_in_turn(self, path, body):
        """One after the other: each is answered before the next one asks."""
        for sock in self.sockets.values():
            sock.settimeout(10)
            sock.send(get(path))
            answer = b""
            while not answer.endswith(body):
                piece = sock.recv(65536)
                if not piece:
                    raise Failed(f"{path}: closed after {answer[:100]!r}")
                answer += piece
            sock.setblocking(False)

    def answers(self, body, timeout):
        """Reads until all have been answered. {"right", "wrong", "first", "last"}: numbers, and when they came
        (seconds from now)."""
        begun = time.monotonic()
        got = dict.fromkeys(self.sockets, b"")
        times, wrong = [], []
        epoll = select.epoll()
        with epoll:
            for fd in got:
                epoll.register(fd, select.EPOLLIN)
            while got:
                events = epoll.poll(1, 1024)
                now = time.monotonic() - begun
                if now > timeout:
                    raise Failed(f"{len(got)} of {len(self.sockets)} have no answer after {now:.0f} s")
                for fd, _ in events:
                    data = self.sockets[fd].recv(65536)
                    got[fd] += data
                    if data and not got[fd].endswith(body):
                        continue
                    answer = got.pop(fd)
                    epoll.unregister(fd)
                    times.append(now)
                    if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n" + body)):
                        wrong.append(answer)
        if wrong:
            raise Failed(f"{len(wrong)} answers were wrong, one of them {wrong[0][:200]!r}")
        return {"right": len(times), "first": min(times), "last": max(times)}

    def leave(self):
        for sock in self.sockets.values():
            sock.close()
        self.sockets.clear()


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
