"""Nothing that a client sends or an application says makes a line in a log that nginx has not written.

Every line of the error log begins with nginx's own date, level and process, and holds no character that a terminal
obeys: the module writes them as nginx's access log does, \\x and two digits.
"""

import re
import socket

import pytest

from harness.apps import serve
from harness.nginx import wait_for

pytestmark = pytest.mark.once

APP = """
    import traceback
    from urllib.parse import unquote

    def at_errors(environ, start_response):
        environ["wsgi.errors"].write(text(environ) + "\\n")
        return answer(start_response, b"said")

    def at_print(environ, start_response):
        print(text(environ), file=sys.stderr)
        return answer(start_response, b"said")

    def at_pieces(environ, start_response):
        for character in text(environ):
            environ["wsgi.errors"].write(character)
        environ["wsgi.errors"].flush()
        return answer(start_response, b"said")

    def at_raise(environ, start_response):
        raise ValueError(text(environ))

    def at_type(environ, start_response):
        raise type(text(environ).replace("\\0", ""), (Exception,), {})()

    def at_late(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"first"
        raise ValueError(text(environ))

    def at_close(environ, start_response):
        class Closing(Body):
            def close(self):
                raise ValueError(said)
        said = text(environ)
        start_response("200 OK", PLAIN + [("Content-Length", "1")])
        return Closing(b"x")

    def at_traceback(environ, start_response):
        # The line of the source is the attacker's too.
        exec(compile("raise ValueError('x')", text(environ).replace("\\0", ""), "exec"))

    def at_status(environ, start_response):
        start_response("200 " + text(environ), PLAIN)
        return [b"x"]

    def at_name(environ, start_response):
        start_response("200 OK", [(text(environ), "x")])
        return [b"x"]

    def at_value(environ, start_response):
        start_response("200 OK", [("X-A", text(environ))])
        return [b"x"]

    def at_accel(environ, start_response):
        start_response("200 OK", [("X-Accel-Redirect", "/../" + text(environ))])
        return [b"x"]

    def at_yields(environ, start_response):
        start_response("200 OK", PLAIN)
        return [text(environ)]

    def text(environ):
        return unquote(environ["QUERY_STRING"])
    """
# The texts are in the request line, in hexadecimal digits.
LARGE = "large_client_header_buffers 4 64k;"
FORGED = "2001/01/01 00:00:00 [error] 1#1: *1 forged"
TEXTS = {
    "lf": f"a\n{FORGED}", "crlf": f"a\r\n{FORGED}", "cr": f"a\r{FORGED}", "lines": f"\n\n{FORGED}\n\n{FORGED}\n",
    "vertical": f"a\x0b{FORGED}\x0c{FORGED}", "esc": f"\x1b[2K\x1b[1G{FORGED}\x1b[31m", "nul": f"a\0{FORGED}",
    "backspace": "a" + "\b" * 200 + FORGED, "bell": "\a\x7f", "nel": f"a\x85{FORGED}\u2028{FORGED}\u2029{FORGED}",
    "csi": f"\x9b2K\x9b1G{FORGED}\x9b31m \x9d0;title\x9c gr\xfcn \u2603",
    "long": f"{'x' * 5000}\n{FORGED}\r\n{'y' * 5000}", "format": "%s%n%V\n%*s",
    "all": "".join(map(chr, range(0x20))) + "z",
}
WHERE = ["errors", "print", "pieces", "raise", "type", "late", "close", "traceback", "status", "name", "value", "accel",
         "yields"]
# Of nginx's: a date, a level, a process, and a thread.
LINE = re.compile(rb"20[2-9]\d/\d\d/\d\d \d\d:\d\d:\d\d \[[a-z]+\] \d+#\d+: ")
# Of ASCII, and in UTF-8 those from U+0080 on, and the two ends of lines that Unicode has besides.
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")


def quote(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


def clean(server):
    lines = server.log_path.read_bytes().split(b"\n")
    assert lines.pop() == b"", "the last line has no end"
    for line in lines:
        assert LINE.match(line), f"a line that nginx has not begun: {line!r}"
        assert not CONTROL.search(line), f"a line with control characters: {line!r}"
    return lines


@pytest.mark.parametrize("threads", ["", "wsgi_threads 2;"], ids=["inline", "threads"])
def test_applications(nginx, threads):
    server = serve(nginx, APP, f"location / {{ {threads} wsgi_pass app.py; }}", http=LARGE)
    for where in WHERE:
        for name, text in TEXTS.items():
            client = server.connect()
            client.send_request("GET", f"/{where}?{quote(text)}", [("X-Case", f"{where} {name}")])
            assert client.read_response(strict=False).status in (200, 404, 500)
            client.close()
    # Everything has been said when a line that comes last is there.
    server.get("/errors?the%20end")
    server.wait_for_log(": the end,")
    lines = clean(server)
    # The texts are there: their lines as lines, the rest escaped.
    said = [line for line in lines if b"forged" in line]
    assert len(said) > 100
    assert any(rb"\x1b[2K\x1b[1G2001/01/01" in line for line in said)
    assert any(rb"a\x002001/01/01" in line for line in said)
    # Other characters stay what they are.
    csi = [line for line in said if rb"\xc2\x9b2K\xc2\x9b1G2001/01/01" in line]
    assert csi and all("gr\xfcn \u2603".encode() in line for line in csi)


def test_syslog_gets_no_more_lines_than_were_said(nginx):
    """A message of syslog is a datagram; one that holds a line feed is two for most readers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        to = f"syslog:server=127.0.0.1:{receiver.getsockname()[1]}"
        server = serve(nginx, APP, main=f"error_log {to} error;", http=LARGE, check_fds=False)
        for text in TEXTS.values():
            assert server.get(f"/errors?{quote(text)}").body == b"said"
        server.get("/errors?the%20end")
        message = b""
        while b"the end" not in message:
            message = receiver.recv(65536)
            assert re.match(rb"<\d+>", message) and not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", message), message


def test_request_lines_and_headers(nginx):
    """What nginx itself writes of a request into every line of ours."""
    server = serve(nginx, APP, http="underscores_in_headers on; ignore_invalid_headers off;")
    for payload in (b"\x1b[31m", b"%0a2001/01/01", b"%1b%5b31m", b'"%22, client: 1.2.3.4', b"\xff\x80", b"%00"):
        for data in (b"GET /raise?" + payload + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                     b"GET /raise HTTP/1.1\r\nHost: a\r\nReferer: " + payload + b"\r\nConnection: close\r\n\r\n",
                     b"GET /raise HTTP/1.1\r\nHost: a\r\nX-" + payload + b": x\r\nConnection: close\r\n\r\n",
                     b"GET /raise HTTP/1.1\r\nHost: " + payload + b"\r\nConnection: close\r\n\r\n"):
            with server.connect() as client:
                client.send(data)
                client.read_rest()
    wait_for(lambda: server.status()["active"] == 1, "all are gone")
    for line in server.log_path.read_bytes().split(b"\n")[:-1]:
        assert LINE.match(line), f"a line that nginx has not begun: {line!r}"
        # nginx repeats what a client sent as it came; of ours, the application's text, nothing may be raw.
        if b" wsgi: " in line:
            assert not CONTROL.search(line.partition(b", client: ")[0]), line
    for line in (server.folder / "access.log").read_bytes().split(b"\n")[:-1]:
        assert line.startswith(b"127.0.0.1 - - [") and not CONTROL.search(line), line
