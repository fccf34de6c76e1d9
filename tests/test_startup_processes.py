"""Python lives in workers only: not in the master, not in the cache's helper processes."""

import pathlib
import subprocess

import pytest

from harness.nginx import PYTHON, title, wait_for

APP = """
import os

with open(os.path.join(os.path.dirname(__file__), "imported"), "a") as file:
    file.write(f"{os.getpid()}\\n")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""

# Runs whenever a Python of this environment starts, whoever starts it.
SITE = """
import os

with open({path!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
"""


@pytest.fixture
def traced(folder, app):
    """An application, and an environment that writes down the pid of every process that starts Python."""
    app(APP)
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, capture_output=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "trace_start.py").write_text(SITE.format(path=str(folder / "started")))
    (site / "trace_start.pth").write_text("import trace_start\n")
    return "wsgi_python_executable venv/bin/python; location / { wsgi_pass app.py; }"


def pids(path):
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def python_files(pid):
    """Mapped files that only a running Python maps."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
    return sorted({line.split()[-1] for line in maps.splitlines() if ".cpython-" in line or "lib-dynload" in line})


def threads(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


def test_workers_only(nginx, traced, folder):
    server = nginx(traced, workers=2)
    workers = server.workers()
    assert sorted(pids(folder / "started")) == workers
    assert sorted(pids(folder / "imported")) == workers, "imported at worker start, once in each"
    assert int(server.get("/").text) in workers
    assert python_files(server.pid) == []
    assert threads(server.pid) == 1


def test_after_reload(nginx, traced, folder):
    server = nginx(traced, workers=2)
    first = server.workers()
    server.hup()
    assert sorted(pids(folder / "started")) == sorted(first + server.workers())
    assert server.pid not in pids(folder / "started")
    assert python_files(server.pid) == []


def test_cache_helpers_have_none(nginx, traced, folder):
    server = nginx(traced + """
        location /cached { proxy_pass http://unix:%%FOLDER%%/status.sock:/status; proxy_cache zone; }
    """, http="proxy_cache_path %%FOLDER%%/cache keys_zone=zone:1m loader_sleep=1s loader_files=1;")
    helpers = [pid for pid in server.all_children() if "cache" in title(pid)]
    assert helpers, "the cache manager and the cache loader are there"
    wait_for(lambda: any("cache manager" in title(pid) for pid in server.all_children()), "the cache manager")
    assert server.get("/").status == 200
    assert pids(folder / "started") == server.workers()
    for pid in helpers:
        assert python_files(pid) == []


def test_configuration_test_starts_no_python(nginx, traced, folder):
    server = nginx(traced, start=False)
    assert server.test_config()[0]
    assert not (folder / "started").exists()
    assert not (folder / "imported").exists()


def test_no_python_without_wsgi_pass(nginx):
    """A configuration that uses no application still starts and serves."""
    server = nginx("location / { return 200; }")
    assert server.get("/").status == 200
