"""Starts a server that is not begun by a command line: start.py SERVER MODULE:CALLABLE PORT WORKERS [THREADS]."""

import contextlib
import importlib
import os
import pathlib
import socket
import sys
import threading

HOST = "127.0.0.1"


def loaded(target):
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def no_server(target, port, _workers):
    """No server: a thread for each connection reads a request, whatever it says, and calls the application."""
    application = loaded(target)
    with socket.create_server((HOST, port), backlog=4096) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=converse, args=(connection, application), daemon=True).start()


def converse(connection, application):
    head = bytearray()

    def start_response(status, headers):
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
        head[:] = "\r\n".join([*lines, "", ""]).encode("latin-1")

    with connection, contextlib.suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Small ones come in one piece.
        while connection.recv(1 << 16):
            body = b"".join(application({}, start_response))
            connection.sendall(bytes(head) + body)


def bjoern(target, port, workers):
    import bjoern
    # Children share the socket that is listened at.
    bjoern.listen(loaded(target), HOST, port, listen_backlog=4096)
    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    bjoern.run()


def fastpysgi(target, port, workers):
    import fastpysgi
    server = fastpysgi.server
    server.max_content_length = 1 << 27
    server.tcp_nodelay = 1
    server.init(loaded(target), HOST, port, workers=workers)
    server.run()


def uvicorn(target, port, workers, threads):
    import uvicorn
    # Every worker asks through_a2wsgi() for it.
    os.environ.update(BENCH_APP=target, BENCH_THREADS=str(threads))
    uvicorn.run("start:through_a2wsgi", factory=True, host=HOST, port=port, workers=workers, loop="uvloop",
                http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning", backlog=4096,
                interface="asgi3")


def through_a2wsgi():
    from a2wsgi import WSGIMiddleware
    return WSGIMiddleware(loaded(os.environ["BENCH_APP"]), workers=int(os.environ["BENCH_THREADS"]))


def main():
    # Where speed/ is.
    sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1]))
    from speed.process import die_with_parent
    os.register_at_fork(after_in_child=die_with_parent)
    name, target, *numbers = sys.argv[1:]
    start = {"no-server": no_server, "bjoern": bjoern, "fastpysgi": fastpysgi, "uvicorn": uvicorn}[name]
    start(target, *map(int, numbers))


if __name__ == "__main__":
    main()
