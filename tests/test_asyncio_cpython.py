"""CPython's own tests of asyncio, on the loop that nginx drives: see harness/asyncio_suite.py."""

import json

import pytest

from harness import asyncio_suite
from harness.nginx import THREADS

CONFIG = """
    location / { wsgi_pass %%APPS%%/asyncio_suite.py; wsgi_suspend_timeout 600s; wsgi_block_warning off; }
    """

if THREADS:
    pytest.skip("needs applications in nginx's own thread", allow_module_level=True)


def test_there_are_tests():
    if asyncio_suite.folder() is None:
        pytest.skip('this Python has no test.test_asyncio; "make deps" gets it where Debian packs it apart')
    assert len(asyncio_suite.modules()) > 10


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("module", asyncio_suite.modules())
def test_module(nginx, module):
    """Those that fail also on asyncio's own loop are not held against this one."""
    # Some leave connections and files to the collector.
    server = nginx(CONFIG, connections=2048, check_fds=False)
    order = {"folder": str(asyncio_suite.folder()), "module": module, "left_out": asyncio_suite.left_out()}
    with server.connect(timeout=300) as client:
        answer = client.request("POST", "/", [("Connection", "close")], json.dumps(order).encode())
    assert answer.status == 200, server.tail()
    result = answer.json()
    print(f"{module}: {result['ran']} tests, {result['driven']} of them run our loop, {len(result['skipped'])} skip "
          f"themselves, {len(result['failed'])} fail, {result['left_out']} are left out")
    ours = [(test, text) for test, text in result["failed"] if asyncio_suite.passes_elsewhere(test)]
    assert not ours, "\n\n".join(f"{test}\n{text}" for test, text in ours)
    if not result["driven"]:
        pytest.skip("the loops of this module are mocks in this Python")
