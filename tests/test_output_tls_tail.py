"""A block whose chunk fills nginx's TLS buffer up to a byte or two goes out as any other."""

import pytest
from harness.apps import serve

APP = """
    def at_tail(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"a" * 1000
        yield b"b" * int(environ["QUERY_STRING"])
        yield b"c"
"""


@pytest.mark.parametrize("missing", range(12))
@pytest.mark.parametrize("buffers", [1, 2, 6])
def test_no_chunk_stalls(nginx, buffers, missing):
    server = serve(nginx, APP, "location / { wsgi_pass app.py; send_timeout 3s; }", tls=True)
    size = 16384 * buffers - missing
    answer = server.get(f"/tail?{size}", tls=True)
    assert answer.body == b"a" * 1000 + b"b" * size + b"c"
