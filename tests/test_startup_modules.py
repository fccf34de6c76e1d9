"""A worker starts with few modules: each costs memory in every worker."""

import subprocess

from harness.nginx import PYTHON

APP = """
import sys


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(sys.modules).encode()]
"""


def test_a_small_application_does_not_bring_the_large_ones_along(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    # Those that .pth files import count for nothing.
    bare = subprocess.run([PYTHON, "-I", "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True,
                          check=True).stdout.split()
    server.get("/")
    large = {"asyncio", "ctypes", "enum", "hashlib", "inspect", "logging", "re", "signal", "traceback"}
    assert large & set(server.get("/").text.split()) <= set(bare)
