"""What a burst of requests has left free in a worker's heap goes back to the system."""

import pytest

from harness.nginx import rss, wait_for

pytestmark = pytest.mark.once

MIB = 1024 ** 2
# Blocks that malloc does not map one by one, below one that lives on: by itself malloc keeps them all.
APP = """
kept = []


def application(environ, start_response):
    blocks = [b"x" * 60000 for _ in range(1000)]
    kept.append(b"y" * 60000)
    del blocks
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(pages * 4096).encode()]
"""


def test_after_some_seconds(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    before = rss(server.worker)
    for _ in range(2):
        assert int(server.get("/").body) > before + 50 * MIB
        wait_for(lambda: rss(server.worker) < before + 10 * MIB, "the memory to be given back")
