"""wsgi_max_memory: a worker that has grown too large is replaced."""

import re
import time

import pytest

from harness.apps import serve
from harness.nginx import alive, rss, wait_for

pytestmark = pytest.mark.once

APP = """
KEPT = []


def at_pid(environ, start_response):
    return answer(start_response, os.getpid())


def at_grow(environ, start_response):
    KEPT.append(bytearray(os.urandom(1 << 20) * int(environ["QUERY_STRING"])))
    return answer(start_response, os.getpid())
"""
SERVER = "location / { wsgi_pass app.py; }"
NOTICE = (r"\[notice\].*wsgi: this worker occupies (\d+) MiB of memory \(wsgi_max_memory\), "
          r"it quits gracefully to be replaced")


def test_replaced(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_memory 200m;")
    old = server.worker
    assert server.get("/grow?100").json() == old
    time.sleep(1.1)
    assert server.get("/pid").json() == old
    assert server.get("/grow?150").json() == old
    # It looks once a second at most.
    wait_for(lambda: server.get("/pid").json() != old, "another worker", step=0.2)
    (line,) = server.log_lines(NOTICE)
    assert f" {old}#" in line
    assert 250 <= int(re.search(NOTICE, line).group(1)) < 400
    wait_for(lambda: not alive(old), "it has ended")
    assert rss(server.worker) < 200 << 20
    new = server.worker
    time.sleep(1.1)
    assert [server.get("/pid").json() for _ in range(3)] == [new] * 3


@pytest.mark.parametrize("http", ["", "wsgi_max_memory off;", "wsgi_max_memory 0;", "wsgi_max_memory 4g;"])
def test_not_replaced(nginx, http):
    server = serve(nginx, APP, SERVER, http=http)
    old = server.worker
    assert server.get("/grow?100").json() == old
    time.sleep(1.1)
    assert [server.get("/pid").json() for _ in range(3)] == [old] * 3


def test_a_limit_below_what_a_worker_begins_with(nginx):
    """Workers would be replaced without end."""
    server = serve(nginx, APP, SERVER, http="wsgi_max_memory 2m;")
    old = server.worker
    time.sleep(1.1)
    assert [server.get("/pid").json() for _ in range(3)] == [old] * 3
    assert len(server.log_lines(
        r'\[warn\].*wsgi: this worker occupies \d+ MiB of memory before its first request, more than '
        r'"wsgi_max_memory" allows, which has no effect therefore')) == 1


def test_in_a_single_process_it_warns(nginx):
    server = serve(nginx, APP, SERVER, http="wsgi_max_memory 60m;", master=False)
    assert server.get("/grow?100").status == 200
    time.sleep(1.1)
    assert [server.get("/pid").json() for _ in range(3)] == [server.pid] * 3
    assert re.search(r'\[warn\].*wsgi: "wsgi_max_memory" needs a master process, this process is not replaced',
                     server.output() + server.log())
