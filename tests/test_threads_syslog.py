"""Lines of threads reach a log with a writer of its own by way of nginx's thread, the only one that such a log knows."""

import re
import socket
import tempfile

from harness.threads import serve


def test_every_line_is_written_by_nginxs_thread(nginx):
    with tempfile.TemporaryDirectory(prefix="wsgi-syslog-") as folder, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(f"{folder}/log")
        log.settimeout(10)
        server = serve(nginx, """
        import sys

        def at_print(environ, start_response):
            print("printed", file=sys.stderr)
            print("said", file=environ["wsgi.errors"])
            return answer(start_response, b"printed")
        """, threads="4", main=f"error_log syslog:server=unix:{folder}/log error;", check_fds=False)
        # One at a time: the socket holds a few lines only, and nginx drops what finds no room.
        for _ in range(10):
            assert server.get("/print").body == b"printed"
            for word in ("printed", "said"):
                line = log.recv(4096).decode()
                process, thread = re.search(rf"(\d+)#(\d+): .*wsgi: {word}", line).groups()
                assert process == thread, line
        # The log has to be there until nginx, which holds its end of it, is gone.
        server.stop()
