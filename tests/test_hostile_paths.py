"""Paths that programs read in different ways: SCRIPT_NAME and PATH_INFO are nginx's $uri, cut in two and never
decoded again, and REQUEST_URI is what the client wrote."""

import pytest

from harness.hostile import Pair, check

pytestmark = pytest.mark.once

SEGMENTS = [
    b"..", b".", b"%2e", b"%2e%2e", b"%2E%2E", b".%2e", b"%2e.", b"...", b"..;", b"..;/x", b";", b";a=b", b"%3b",
    b"%00", b"x%00y", b"%01", b"%0a", b"%0d%0a", b"%0d%0aX-Evil:%201", b"%1b%5b31m", b"%7f", b"%2f", b"%2F",
    b"%2f..%2f", b"..%2f..", b"..%2fprivate", b"%5c", b"\\", b"..\\..", b"%5c..%5c", b"..%5c", b"%252e%252e",
    b"%252f", b"%25", b"%2500", b"%", b"%z", b"%2", b"%2g", b"%u002e", b"%c0%ae%c0%ae", b"%c0%af", b"%e0%80%ae",
    b"%f0%80%80%ae", b"%ff", b"%c3%a9", b"\xc3\xa9", b"\xc0\xae\xc0\xae", b"\xff", b"%ef%bc%8e", b"%e2%80%ae", b"+",
    b"%20", b"a%20b", b"?", b"?a?b", b"%3f", b"?/../x", b"#", b"%23", b"#/../x", b"?#", b"*", b"~", b"~root",
    b"$uri", b"${HOME}", b"|id", b"`id`", b"<script>", b"'", b'"', b"%22", b"&", b"://", b"http:", b"@", b":",
    b"x" * 300,
]
SHAPES = [b"/%b", b"/app/%b", b"/app/x/%b/private/y", b"/app%b", b"//%b", b"/app//x//%b", b"/x/../%b", b"/%b/../app/x"]


def cases(shape):
    found = {}
    for segment in SEGMENTS:
        path = shape.replace(b"%b", segment)
        found[path] = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    return found


CONFIG = """
    location / { pair_pass; }
    location /app/ { pair_pass; }
    location = /app/exact { pair_pass; }
    location /app/own { wsgi_script_name /app; pair_pass; }
    location ^~ /private { deny all; }
"""


@pytest.mark.parametrize("slashes", ["on", "off"])
def test_python_sees_the_path_that_nginx_has_found_the_location_by(nginx, slashes):
    pair = Pair(nginx, f"merge_slashes {slashes}; {CONFIG}", connections=4096)
    every = {path: data for shape in SHAPES for path, data in cases(shape).items()}
    found = check(pair, every)
    called = [(path, seen) for path, (ours, _) in found.items() for seen in ours.calls]
    # Most of them are requests like others; a test that sees none would be none.
    assert len(called) > len(found) // 2
    for path, seen in called:
        assert not seen["PATH_INFO"].startswith("/private") or seen["SCRIPT_NAME"], f"{path}: {seen}"
        assert seen["SCRIPT_NAME"] in ("", "/app"), f"{path}: {seen}"
        assert (seen["SCRIPT_NAME"] == "/app") == (seen["SCRIPT_NAME"] + seen["PATH_INFO"]).startswith("/app/") or \
            seen["SCRIPT_NAME"] + seen["PATH_INFO"] == "/app/exact", f"{path}: {seen}"
        assert seen["PATH_INFO"][:1] == "/", f"{path}: {seen}"
        # The application's half has no `..` left and no NUL, unless as two characters that nginx does not treat so.
        assert "/../" not in seen["PATH_INFO"] + "/" and "\0" not in seen["PATH_INFO"], f"{path}: {seen}"
        assert seen["REQUEST_URI"].encode("latin-1") == path, f"{path}: {seen}"
    # Decoded once.
    assert [seen["PATH_INFO"] for path, seen in called if path == b"/app/%252e%252e"] == ["/%2e%2e"]
    assert [seen["PATH_INFO"] for path, seen in called if path == b"/app/%c0%ae%c0%ae"] == ["/\xc0\xae\xc0\xae"]
