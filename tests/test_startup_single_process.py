"""`master_process off`: the one process serves, reloads as far as nginx can, and ends."""

import os

from harness.nginx import wait_for

APP = """
import atexit
import os

ENDED = os.path.join(os.path.dirname(__file__), "ended")
atexit.register(lambda: open(ENDED, "a").write("ended\\n"))

with open(os.path.join(os.path.dirname(__file__), "imported"), "a") as file:
    file.write(f"{os.getpid()}\\n")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok ", str(os.getpid()).encode(), b" ", str(environ["wsgi.multiprocess"]).encode()]
"""


def test_serves(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, master=False)
    for _ in range(3):
        assert server.get("/").text == f"ok {server.pid} False"
    assert (folder / "imported").read_text() == f"{server.pid}\n"
    server.stop()
    assert (folder / "ended").read_text() == "ended\n"


def test_fast_end(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, master=False)
    assert server.get("/").status == 200
    server.stop("TERM")
    assert (folder / "ended").read_text() == "ended\n"


def test_hup_with_a_changed_configuration(nginx, folder):
    """nginx itself cannot accept connections after HUP in this mode; those it has must go on, and it must end."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP, "second.py": APP}, master=False,
                   allow=["worker_connections are not enough", "open socket"], check_connections=False,
                   check_fds=False)
    client = server.connect()
    assert client.request("GET", "/").status == 200
    server.write_conf(server="location / { wsgi_pass second.py; wsgi_pass_authorization on; }")
    server.signal("HUP")
    server.wait_for_log("reconfiguring")
    for _ in range(3):
        assert client.request("GET", "/").text == f"ok {server.pid} False"
    for _ in range(2):
        server.signal("HUP")
        server.wait_for_log("reconfiguring")
        assert client.request("GET", "/").status == 200
    server.stop()
    assert (folder / "ended").read_text().count("ended") >= 1


def test_hup_with_a_broken_configuration(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, master=False, allow=[r"\[emerg\]"])
    server.write_conf(server="location / { wsgi_pass nothing.py; }")
    server.signal("HUP")
    server.wait_for_log(r"\[emerg\].*nothing\.py.*does not exist")
    for _ in range(3):
        assert server.get("/").status == 200


def test_subprocess_status(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import subprocess

def application(environ, start_response):
    codes = [subprocess.run(["sh", "-c", f"exit {n}"]).returncode for n in range(10)]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(codes).encode()]
"""}, master=False)
    assert server.get("/").text == repr(list(range(10)))


def test_reopen(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, master=False)
    os.rename(folder / "error.log", folder / "old.log")
    server.signal("USR1")
    wait_for(lambda: (folder / "error.log").exists(), "the reopened log")
    assert server.get("/").status == 200
