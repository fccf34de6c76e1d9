"""HUP twenty times under constant load: not one failed request, and nothing left behind."""

import subprocess
import threading

import pytest

from harness.load import Load
from harness.nginx import PYTHON, alive, open_fds, rss, wait_for

APP = """
import os

BODY = b"x" * 20000


def application(environ, start_response):
    path = environ["PATH_INFO"]
    length = len(environ["wsgi.input"].read())
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (BODY for _ in range(20))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{length} {os.getpid()}".encode()]
"""


class Reader(Load):
    """A client of APP."""

    def __init__(self, *args):
        super().__init__(*args)
        self.workers = set()

    def check(self, answer, begun):
        if self.target == "/stream":
            assert len(answer.body) == 400000
        else:
            length, pid = answer.text.split()
            assert int(length) == len(self.body or b"")
            self.workers.add(int(pid))


@pytest.mark.slow
def test_twenty_reloads_lose_nothing(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, workers=2, connections=1024,
                   http="keepalive_requests 1000000; wsgi_block_warning off;")
    master_fds = len(open_fds(server.pid))
    stop = threading.Event()
    clients = [Reader(server, stop, True, "/"), Reader(server, stop, True, "/stream"),
               Reader(server, stop, False, "/"), Reader(server, stop, False, "/post", b"y" * 30000)]
    for client in clients:
        client.start()
    seen = set(server.workers())
    try:
        for _ in range(20):
            progress = [client.done for client in clients]
            server.hup(timeout=30)
            new = set(server.workers())
            assert not new & seen
            seen |= new
            # Every client got an answer under this generation before the next one comes.
            wait_for(lambda: all(client.done > before for client, before in zip(clients, progress)) or any(
                client.failures for client in clients), "each client goes on", 20)
            assert not any(client.failures for client in clients), [client.failures for client in clients]
    finally:
        stop.set()
        for client in clients:
            client.join(30)
    assert [client.failures for client in clients] == [[], [], [], []]
    assert len(clients[0].workers | clients[2].workers) >= 20, "many generations of workers have answered"
    wait_for(lambda: len(server.all_children()) == 2, "only the last two workers are left")
    assert all(not alive(pid) for pid in seen - set(server.workers()))
    assert len(open_fds(server.pid)) == master_fds, open_fds(server.pid)
    wait_for(lambda: server.status()["active"] == 1, "no connection is left")
    assert not server.log_lines(r"\[error\]")


def test_reload_while_requests_run(nginx):
    """An answer that is on its way at HUP comes complete, from the old worker."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(100):
        yield b"x" * 65536
    yield str(os.getpid()).encode()
"""})
    old = server.worker
    client = server.connect(rcvbuf=4096)
    client.send_request("GET", "/")
    head = client.read_head()
    server.hup(wait_old=False)
    assert server.worker != old and alive(old)
    client.read_body(head)
    assert head.body.endswith(f"x{old}".encode()) and len(head.body) == 100 * 65536 + len(str(old))
    wait_for(lambda: not alive(old), "the old worker is gone")


def test_reload_while_a_body_arrives(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    old = server.worker
    client = server.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")
    wait_for(lambda: server.status()["reading"] + server.status()["writing"] > 1, "the worker reads the request")
    server.hup(wait_old=False)
    client.send(b"67890")
    answer = client.read_response()
    assert answer.text == f"10 {old}"
    assert client.closed()
    client.close()  # nginx lingers as long as the client does
    wait_for(lambda: not alive(old), "the old worker is gone")


def test_reload_to_another_configuration(nginx, folder):
    """Directives of the old configuration are forgotten: nothing static survives."""
    other = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("other " + environ["SCRIPT_NAME"]).encode()]
"""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP, "other.py": other})
    assert server.get("/").text.startswith("0 ")
    server.hup(server="location /mount/ { wsgi_pass other.py; }")
    assert server.get("/mount/").text == "other /mount"
    assert server.get("/").status == 404
    server.hup(server="location / { return 204; }")
    assert server.get("/").status == 204
    server.hup(server="location / { wsgi_pass app.py; } location /o { wsgi_pass other.py; }")
    assert server.get("/o").text == "other /o"


def test_reload_to_other_settings_of_python(nginx, folder):
    """New workers have new interpreters, so even these can change."""
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, capture_output=True)
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import sys

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{sys.flags.optimize} {sys.prefix}".encode()]
"""})
    level, prefix = server.get("/").text.split()
    assert level == "0"
    server.hup(http="wsgi_python_executable venv/bin/python; wsgi_python_optimize 2;")
    assert server.get("/").text == f"2 {folder}/venv"
    server.hup(http="wsgi_python_optimize 1;")
    assert server.get("/").text == f"1 {prefix}"


def test_many_reloads_at_once(nginx):
    """HUP again and again while workers still import: at the end there is one generation, and it serves."""
    server = nginx("location / { wsgi_pass app.py; }", workers=2,
                   apps={"app.py": "import time\ntime.sleep(0.1)\n" + APP})
    for count in range(1, 9):
        server.signal("HUP")
        server.wait_for_log(r"\[notice\].*: reconfiguring", count=count)
        assert server.get("/").status == 200
    wait_for(lambda: len(server.all_children()) == 2, "only two workers are left")
    assert server.get("/").status == 200


def test_refused_reload_keeps_the_old_workers(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, allow=[r"\[emerg\]"])
    worker = server.worker
    server.write_conf(server="location / { wsgi_pass missing.py; }")
    server.signal("HUP")
    server.wait_for_log(r'\[emerg\].*script ".*/missing\.py" of "wsgi_pass" does not exist in .*nginx\.conf:\d+')
    assert server.worker == worker
    assert server.get("/").status == 200
    server.hup(server="location / { wsgi_pass app.py; }")
    assert server.get("/").status == 200


def test_notice_once_per_reload_at_most(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, workers=2)
    for _ in range(3):
        server.hup()
    assert 1 <= len(server.log_lines("nginx mod_wsgi")) <= 4


def test_module_removed_and_added_again(nginx):
    """Without load_module in the new configuration nginx drops the code; the process must not trip over it."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    assert server.get("/").status == 200
    full = server.text()
    server.load_module = False
    plain = server.text(server="location / { return 204; }")
    server.load_module = True
    server.write_conf(plain)
    server.hup()
    assert server.get("/").status == 204
    server.write_conf(full)
    server.hup()
    assert server.get("/").status == 200


def test_master_memory_does_not_grow(nginx):
    """Each cycle's configuration goes with its pool: fifteen reloads leave the master about as it was."""
    server = nginx("\n".join(f"location /{n} {{ wsgi_pass app.py; wsgi_python_path .; wsgi_script_name /$arg_x; }}"
                             for n in range(200)), apps={"app.py": APP}, http="wsgi_env A b;")
    for _ in range(5):
        server.hup()
    before = rss(server.pid)
    for _ in range(10):
        server.hup()
    assert rss(server.pid) - before < 2 << 20
