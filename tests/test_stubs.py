"""The folder python/: pip installs it, its types fit what ngx_reactor and ngx_wsgi offer, and imports say what they are.

Only what a worker embeds is the real thing; what is installed is types, and an ImportError that explains itself.
"""

import re
import shutil
import subprocess
import sys

import pytest

from harness.nginx import PYTHON, ROOT

RIGHT = '''
import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any, Callable, Optional

import ngx_reactor
import ngx_wsgi
from ngx_wsgi import Interrupted
from ngx_wsgi.asyncio import Loop, get_loop, respond, wait

StartResponse = Callable[..., Callable[[bytes], object]]
ours, theirs = socket.socketpair()


def on_event(event: ngx_reactor.Event[list[bytes]]) -> None:
    if event.ready & ngx_reactor.NGX_READ_EVENT and event.fd == event.fileno():
        event.arg.append(ours.recv(100))
    if event.active & ngx_reactor.NGX_WRITE_EVENT:
        ngx_reactor.del_event(event, ngx_reactor.NGX_WRITE_EVENT)
    event.handler(event)


def without_arg(event: ngx_reactor.Event[None]) -> None:
    ngx_reactor.del_event(event)


def react() -> None:
    blocks: list[bytes] = []
    event = ngx_reactor.create_event(ours, on_event, blocks)
    ngx_reactor.add_event(event, ngx_reactor.NGX_READ_EVENT | ngx_reactor.NGX_WRITE_EVENT)
    ngx_reactor.create_event(theirs.fileno(), without_arg)
    timer: ngx_reactor.Timer = ngx_reactor.add_timer(lambda: print("late"), 1500)
    ngx_reactor.del_timer(timer)
    ngx_reactor.post(react)


async def answer() -> int:
    return 42


def generator(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    number = yield from wait(environ, answer())
    start_response("200 OK", [])
    yield str(number + 1).encode()


async def whole() -> tuple[str, list[tuple[str, str]], bytes]:
    return "200 OK", [("Content-Type", "text/plain")], b"body"


async def body(start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [b"body"]


async def stream(start_response: StartResponse) -> AsyncIterator[bytes]:
    start_response("200 OK", [])
    yield b"body"


def plain(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/whole":
        return respond(environ, start_response, whole())
    if environ["PATH_INFO"] == "/body":
        return respond(environ, start_response, body(start_response))
    return respond(environ, start_response, stream(start_response))


def loop_of_the_worker() -> Optional[asyncio.Task[int]]:
    loop: Loop = get_loop()
    base: asyncio.AbstractEventLoop = loop
    with contextlib.suppress(ngx_wsgi.Timeout, ngx_wsgi.Disconnected, Interrupted):
        base.call_soon_threadsafe(react)
        return loop.create_task(answer())
    return None
'''

WRONG = '''
from typing import Any

import ngx_reactor
import ngx_wsgi
from ngx_wsgi.asyncio import get_loop, respond, wait


def on_event(event: ngx_reactor.Event[None]) -> None:
    event.fd = 3  # wrong
    event.fileno(1)  # wrong


async def answer() -> int:
    return 42


async def number(start_response: Any) -> tuple[int, list[tuple[str, str]], bytes]:
    return 200, [], b""


def application(environ: dict[str, Any], start_response: Any) -> Any:
    ngx_reactor.create_event("3", on_event)  # wrong
    ngx_reactor.create_event(3, on_event, "an arg")  # wrong
    ngx_reactor.add_event(3, ngx_reactor.NGX_READ_EVENT)  # wrong
    ngx_reactor.add_event(ngx_reactor.create_event(3, on_event), "r")  # wrong
    ngx_reactor.add_timer(1000, print)  # wrong
    ngx_reactor.add_timer(print, 0.5)  # wrong
    ngx_reactor.del_timer(on_event)  # wrong
    ngx_reactor.post(on_event)  # wrong
    ngx_reactor.poll()  # wrong
    ngx_wsgi.Late  # wrong
    get_loop("http")  # wrong
    wait(answer())  # wrong
    result: str = yield from wait(environ, answer())  # wrong
    respond(environ, start_response, number(start_response))  # wrong
    return result
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of an environment that has the package and nothing else; made without a network."""
    folder = tmp_path_factory.mktemp("stubs")
    # What setuptools leaves behind stays out of the checkout.
    shutil.copytree(ROOT / "python", folder / "python")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index",
                           "--no-deps", "--no-build-isolation", "--prefix", str(folder / "venv"),
                           str(folder / "python")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "venv/bin/python"


def mypy(python, folder, text):
    """What mypy has to say, as a list of (line, complaint)."""
    file = folder / "program.py"
    file.write_text(text)
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", "--python-executable",
                           str(python), "--no-error-summary", "--no-color-output", str(file)], capture_output=True,
                          text=True, cwd=folder)
    assert not done.stderr, done.stderr
    found = [re.fullmatch(r"program\.py:(\d+): (error|note): (.*)", line) for line in done.stdout.splitlines()]
    assert all(found), done.stdout
    return [(int(line[1]), line[3]) for line in found if line[2] == "error"]


@pytest.mark.parametrize("module", ["ngx_reactor", "ngx_wsgi", "ngx_wsgi.asyncio"])
def test_import_outside_of_a_worker(installed, module):
    done = subprocess.run([str(installed), "-c", f"import {module}"], capture_output=True, text=True)
    name = module.partition(".")[0]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (f"ImportError: {name} exists only inside an nginx worker that runs "
                                            "mod_wsgi")


def test_the_whole_api_is_typed(installed, tmp_path):
    assert mypy(installed, tmp_path, RIGHT) == []


def test_mistakes_are_seen(installed, tmp_path):
    """Each in its line, and nothing else."""
    expected = [number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")]
    found = mypy(installed, tmp_path, WRONG)
    assert sorted({number for number, _ in found}) == expected, found


APPLICATION = """
import ngx_reactor
import ngx_wsgi.asyncio


def application(environ, start_response):
    names = sorted(name for module in (ngx_reactor, ngx_wsgi, ngx_wsgi.asyncio)
                   for name in vars(module) if not name.startswith("_"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(names).encode()]
"""


@pytest.mark.inline_only
def test_a_worker_has_the_real_ones(nginx, installed):
    """Also in an environment in which the package is installed; and whatever it declares is there."""
    server = nginx("location / { wsgi_pass app.py; } location /typed { wsgi_pass typed.py plain; }",
                   apps={"app.py": APPLICATION, "typed.py": RIGHT}, http=f"wsgi_python_executable {installed};",
                   # The loop of asyncio, made by the first request, stays.
                   check_fds=False)
    names = set(server.get("/").text.split())
    stubs = ROOT / "python" / "stubs"
    for file in stubs.rglob("*.pyi"):
        declared = re.findall(r"^(?:class|def) ([A-Za-z]\w*)|^([A-Z]\w+):", file.read_text(), re.M)
        declared = {first or second for first, second in declared}
        assert declared and declared <= names, (file.name, declared - names)
    # Annotations that mypy takes are taken here too.
    assert server.get("/typed/whole").text == "body"
