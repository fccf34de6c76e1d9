"""The same bytes to wsgi_pass and to nginx without it, and what each made of them.

Two servers of one nginx that differ in nothing but their handler: `ours` has the application, `plain` proxy_pass,
which reads a body as the module does, to a page that always says 200 and is told nothing of the request. What `plain`
answers is thus nginx's own verdict. Both log how nginx saw each request, and the application notes how Python did.
"""

import collections
import contextlib
import json
import socket
import time

from . import apps
from .http import open_socket, parse_head
from .nginx import SLOW, free_port, wait_for

APP = '''
def application(environ, start_response):
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    seen["body"] = environ["wsgi.input"].read().decode("latin-1")
    note("seen", json.dumps(seen))
    start_response("200 OK", [("Content-Length", "2"), ("Content-Type", "text/plain")])
    return [b"ok"]
'''
# escape=json keeps each entry one line whatever the client sends; names of the environ make comparing short.
LOG = """
    log_format seen escape=json '{"port":"$remote_port","status":"$status","REQUEST_METHOD":"$request_method",'
        '"REQUEST_URI":"$request_uri","QUERY_STRING":"$args","SERVER_PROTOCOL":"$server_protocol",'
        '"HTTP_HOST":"$http_host","host":"$host","request":"$request","length":"$request_length",'
        '"content_length":"$content_length","uri":"$uri","done":"$request_completion","body":"$request_body"}';
"""
# Whatever a connection waits for, it ends soon, so that the end of an answer is the end of the connection.
SHORT = """
    client_header_timeout %(time)s; client_body_timeout %(time)s; keepalive_timeout %(time)s; lingering_close off;
    client_body_buffer_size 64k; client_body_in_single_buffer on;
"""

# Connections of a client need descriptors, of which it may have 1024.
BATCH = 200

Verdict = collections.namedtuple("Verdict", "answers rest log calls")


# `pair_pass;` on the side without the application.
PLAIN = """proxy_method GET; proxy_pass_request_headers off; proxy_pass_request_body off;
           proxy_set_header Content-Length ""; proxy_pass http://unix:%%FOLDER%%/page.sock:/page;"""


class Pair:
    """`config` is for both servers and has `pair_pass;` in its locations, `ours` only stands beside wsgi_pass.

    A connection that waits for anything ends after so many `seconds`. `server` is the nginx of both.
    """

    def __init__(self, nginx, config="location / { pair_pass; }", *, http="", ours="", seconds=0.4, **options):
        self.plain_port = free_port()
        config = SHORT % {"time": f"{int(seconds * SLOW * 1000)}ms"} + config
        self.server = nginx(
            "access_log %%FOLDER%%/ours.log seen;" + config.replace("pair_pass;", f"{ours} wsgi_pass app.py;"),
            servers=f"""
            server {{
                listen 127.0.0.1:{self.plain_port}; server_name localhost; access_log %%FOLDER%%/plain.log seen;
                {config.replace("pair_pass;", PLAIN)}
            }}
            server {{
                listen unix:%%FOLDER%%/page.sock; access_log off; keepalive_timeout 0;
                location / {{ default_type text/plain; return 200 ok; }}
            }}""", http=LOG + http, apps={"app.py": apps.PRELUDE + APP}, **options)
        self.ports = {"ours": self.server.port, "plain": self.plain_port}

    def ask(self, cases):
        """Sends each of `cases` (name: bytes) to both, many at a time; {name: (Verdict of ours, of plain)}."""
        came, names = {}, list(cases)
        for at in range(0, len(names), BATCH):
            came.update(self.exchange({name: cases[name] for name in names[at:at + BATCH]}))
        # The entry of a request may come after its last byte, never after the connection has been given up.
        wait_for(lambda: self.server.status()["active"] == 1, lambda: f"all are gone: {self.server.status()}")
        logs = {side: self.entries(side) for side in self.ports}
        calls = collections.defaultdict(list)
        for line in apps.notes(self.server, "seen "):
            seen = json.loads(line.partition(" ")[2])
            calls[seen["REMOTE_PORT"]].append(seen)
        found = {key: Verdict(*answers(data), logs[key[1]][port], calls[port]) for key, (port, data) in came.items()}
        return {name: (found[name, "ours"], found[name, "plain"]) for name in cases}

    def exchange(self, cases):
        """Of each connection its port and all that came back."""
        sent = {}
        for name, data in cases.items():
            for side, port in self.ports.items():
                sock = open_socket(("127.0.0.1", port))
                sent[name, side] = sock, str(sock.getsockname()[1])
                with contextlib.suppress(ConnectionError):
                    sock.sendall(data)  # refused before all of it was sent, there is an answer nevertheless
        return {key: (port, everything(sock)) for key, (sock, port) in sent.items()}

    def entries(self, side):
        """What nginx logged of each connection, in order."""
        found = collections.defaultdict(list)
        try:
            lines = (self.server.folder / f"{side}.log").read_text(encoding="latin-1").splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            entry = json.loads(line)
            found[entry.pop("port")].append(entry)
        return found


def everything(sock):
    """All that comes until the connection ends."""
    data, deadline = b"", time.monotonic() + 10 * SLOW
    with sock:
        while True:
            try:
                sock.settimeout(max(0.01, deadline - time.monotonic()))
                more = sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                return data
            except (TimeoutError, socket.timeout):
                raise AssertionError(f"the connection stays open after {data!r}") from None
            if not more:
                return data
            data += more


def answers(data):
    """Splits what came into [(status, Connection, body)] and what is no answer."""
    found = []
    while data.startswith(b"HTTP/1."):
        head, mark, data = data.partition(b"\r\n\r\n")
        if not mark:
            return found, head
        answer = parse_head(head)
        length = answer.header("Content-Length")
        if answer.status >= 200 and length is None:
            body, data = data, b""
        else:
            body, data = data[:int(length or 0)], data[int(length or 0):]
        found.append((answer.status, answer.header("Connection"), body))
    return found, data


def differences(ours, plain, buffered=True):
    """What of ours is not nginx's own verdict, or what Python did not see as nginx did; "" if there is nothing."""
    # A body that nginx has not read in whole before is in none of its variables.
    unknown = set() if buffered else {"body", "content_length"}
    logs = [[{key: entry[key] for key in entry.keys() - unknown} for entry in one.log] for one in (ours, plain)]
    answered = ("answers", ours.answers, plain.answers), ("then", ours.rest, plain.rest)
    for what, mine, theirs in (*answered, ("log", *logs)):
        if mine != theirs:
            return f"{what} {mine}, nginx alone {theirs}"
    served = [entry for entry in plain.log if entry["status"] == "200"]
    if len(ours.calls) != len(served):
        return f"Python saw {ours.calls}, nginx {ours.log}"
    for seen, entry in zip(ours.calls, served):
        for key in ("REQUEST_METHOD", "REQUEST_URI", "QUERY_STRING", "SERVER_PROTOCOL", "HTTP_HOST", "body"):
            # nginx has no name for the protocol of a request without a version; Python needs one.
            if seen.get(key, "") != (entry[key] or ("HTTP/0.9" if key == "SERVER_PROTOCOL" else "")):
                return f"{key} of Python {seen.get(key)!r}, of nginx {entry[key]!r}"
        if seen["SCRIPT_NAME"] + seen["PATH_INFO"] != entry["uri"]:
            return f"SCRIPT_NAME {seen['SCRIPT_NAME']!r} and PATH_INFO {seen['PATH_INFO']!r}, $uri {entry['uri']!r}"
        lengths = {len(seen["body"])} | {int(seen[key]) for key in ("CONTENT_LENGTH",) if key in seen}
        if buffered and (entry["content_length"] or "CONTENT_LENGTH" in seen):
            lengths.add(int(entry["content_length"]))
            lengths.add(int(seen.get("CONTENT_LENGTH", -1)))
        if len(lengths) > 1:
            return f"lengths {lengths}: Python saw {seen}, nginx {entry}"
    return ""


def check(pair, cases, refused=(), buffered=True):
    """All of `cases` by `pair`; Python must not be called for those in `refused`."""
    problems, found = [], pair.ask(cases)
    for case, (ours, plain) in found.items():
        if problem := differences(ours, plain, buffered):
            problems.append(f"{case}: {problem}")
        if case in refused and ours.calls:
            problems.append(f"{case}: Python was called: {ours}")
    assert not problems, "\n".join(problems)
    return found
