"""Request lines and headers at the edge of HTTP: nginx's verdict is the only one, and Python sees what nginx read."""

import pytest

from harness.hostile import Pair, check

END = b"\r\n\r\n"
HOST = b"Host: a"


def get(line, *headers):
    return b"\r\n".join((line, *headers)) + END


def header(line):
    return get(b"GET /x HTTP/1.1", HOST, line)


LINES = {
    "no version": b"GET /x\r\n",
    "HTTP/0.9": get(b"GET /x HTTP/0.9", HOST),
    "HTTP/1.0": get(b"GET /x HTTP/1.0"),
    "HTTP/1.2": get(b"GET /x HTTP/1.2", HOST),
    "HTTP/1.10": get(b"GET /x HTTP/1.10", HOST),
    "HTTP/01.1": get(b"GET /x HTTP/01.1", HOST),
    "HTTP/2.0": get(b"GET /x HTTP/2.0", HOST),
    "HTTP/9.9": get(b"GET /x HTTP/9.9", HOST),
    "HTTP/": get(b"GET /x HTTP/", HOST),
    "http/1.1": get(b"GET /x http/1.1", HOST),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "nothing": b"\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + get(b"GET /x HTTP/1.1", HOST),
    "lower case": get(b"get /x HTTP/1.1", HOST),
    "mixed case": get(b"GeT /x HTTP/1.1", HOST),
    "unknown method": get(b"BREW /x HTTP/1.1", HOST),
    "method with - and _": get(b"M-_SEARCH /x HTTP/1.1", HOST),
    "method of one letter": get(b"X /x HTTP/1.1", HOST),
    "long method": get(b"A" * 500 + b" /x HTTP/1.1", HOST),
    "method with a digit": get(b"GET1 /x HTTP/1.1", HOST),
    "TRACE": get(b"TRACE /x HTTP/1.1", HOST),
    "CONNECT": get(b"CONNECT a:80 HTTP/1.1", HOST),
    "CONNECT with a path": get(b"CONNECT /x HTTP/1.1", HOST),
    "OPTIONS *": get(b"OPTIONS * HTTP/1.1", HOST),
    "no path": get(b"GET  HTTP/1.1", HOST),
    "two spaces": get(b"GET  /x HTTP/1.1", HOST),
    "space in the path": get(b"GET /x y HTTP/1.1", HOST),
    "space at the end": get(b"GET /x HTTP/1.1 ", HOST),
    "tabs": get(b"GET\t/x\tHTTP/1.1", HOST),
    "bare LF": b"GET /x HTTP/1.1\nHost: a\n\n",
    "bare CR": b"GET /x HTTP/1.1\rHost: a\r\r",
    "CR in the path": get(b"GET /x\ry HTTP/1.1", HOST),
    "NUL in the path": get(b"GET /x\0y HTTP/1.1", HOST),
    "ESC in the path": get(b"GET /x\x1b[31m HTTP/1.1", HOST),
    "DEL in the path": get(b"GET /x\x7f HTTP/1.1", HOST),
    "bytes above 127 in the path": get(b"GET /\xff\xfe HTTP/1.1", HOST),
    "absolute": get(b"GET http://other/x?y HTTP/1.1", HOST),
    "absolute, upper case": get(b"GET HTTP://OTHER/x HTTP/1.1", HOST),
    "absolute with a port": get(b"GET http://other:99/x HTTP/1.1", HOST),
    "absolute with a user": get(b"GET http://user@other/x HTTP/1.1", HOST),
    "absolute without Host": get(b"GET http://other/x HTTP/1.1"),
    "absolute without a path": get(b"GET http://other?y HTTP/1.1", HOST),
    "absolute, https": get(b"GET https://other/x HTTP/1.1", HOST),
    "absolute, file": get(b"GET file:///etc/passwd HTTP/1.1", HOST),
    "absolute, no host": get(b"GET http:///x HTTP/1.1", HOST),
    "a host only": get(b"GET other/x HTTP/1.1", HOST),
}
HOSTS = {
    "none": get(b"GET /x HTTP/1.1"),
    "none in HTTP/1.0": get(b"GET /x HTTP/1.0"),
    "empty": get(b"GET /x HTTP/1.1", b"Host:"),
    "two": get(b"GET /x HTTP/1.1", HOST, b"Host: b"),
    "two, the same": get(b"GET /x HTTP/1.1", HOST, HOST),
    "a list": get(b"GET /x HTTP/1.1", b"Host: a, b"),
    "with a path": get(b"GET /x HTTP/1.1", b"Host: a/b"),
    "with a user": get(b"GET /x HTTP/1.1", b"Host: u@a"),
    "with NUL": get(b"GET /x HTTP/1.1", b"Host: a\0b"),
    "with a space": get(b"GET /x HTTP/1.1", b"Host: a b"),
    "with dots": get(b"GET /x HTTP/1.1", b"Host: .."),
    "with a dot at the end": get(b"GET /x HTTP/1.1", b"Host: a."),
    "with a port": get(b"GET /x HTTP/1.1", b"Host: a:99999"),
    "with no port": get(b"GET /x HTTP/1.1", b"Host: a:"),
    "with a wrong port": get(b"GET /x HTTP/1.1", b"Host: a:b"),
    "upper case": get(b"GET /x HTTP/1.1", b"Host: EXAMPLE"),
    "IPv6": get(b"GET /x HTTP/1.1", b"Host: [::1]:80"),
    "half IPv6": get(b"GET /x HTTP/1.1", b"Host: [::1"),
    "bytes above 127": get(b"GET /x HTTP/1.1", b"Host: \xff"),
    "an attack on a page": get(b"GET /x HTTP/1.1", b'Host: "><script>'),
    "as an underscore's": get(b"GET /x HTTP/1.1", b"Host_: b", HOST),
}
HEADERS = {
    "NUL in a value": header(b"X-A: a\0b"),
    "NUL in a name": header(b"X\0A: b"),
    "CR in a value": header(b"X-A: a\rb"),
    "CR at the end": header(b"X-A: a\r"),
    "LF in a value": header(b"X-A: a\nX-B: b"),
    "controls in a value": header(b"X-A: " + bytes(range(1, 9)) + b"\x0b\x0c\x0e\x1b\x7f"),
    "controls in a name": header(b"X\x1bA: a"),
    "bytes above 127 in a value": header(b"X-A: " + bytes(range(128, 256))),
    "bytes above 127 in a name": header(b"X-\xff: a"),
    "folded": header(b"X-A: a\r\n b"),
    "folded with a tab": header(b"X-A: a\r\n\tb"),
    "folded first": get(b"GET /x HTTP/1.1", b" X-A: a", HOST),
    "space before the colon": header(b"X-A : a"),
    "no colon": header(b"X-A"),
    "no name": header(b": a"),
    "nothing but a colon": header(b":"),
    "no value": header(b"X-A:"),
    "spaces in a name": header(b"X A: a"),
    "quotes in a name": header(b'"X-A": a'),
    "an underscore": header(b"X_A: a"),
    "dots": header(b"wsgi.input: a"),
}
# None of these is a request that Python may be called for, whatever the version of nginx.
REFUSED = {
    "HTTP/2.0", "HTTP/9.9", "HTTP/", "http/1.1", "preface of HTTP/2", "TLS", "nothing", "lower case", "mixed case",
    "TRACE", "CONNECT", "OPTIONS *", "tabs", "bare CR", "CR in the path", "NUL in the path", "ESC in the path",
    "space in the path", "absolute, no host", "a host only", "none", "two", "two, the same", "with NUL",
    "with a path", "NUL in a value", "NUL in a name", "method with a digit",
}
assert REFUSED <= {*LINES, *HOSTS, *HEADERS}


@pytest.mark.parametrize("cases", [LINES, HOSTS, HEADERS], ids=["lines", "hosts", "headers"])
def test_nginx_decides(nginx, cases):
    check(Pair(nginx), cases, REFUSED)


@pytest.mark.parametrize("setting", ["underscores_in_headers on;", "ignore_invalid_headers off;"])
def test_with_headers_that_nginx_drops_otherwise(nginx, setting):
    check(Pair(nginx, http=setting), HEADERS, REFUSED)


def test_the_host_that_counts_is_nginxs(nginx):
    """SERVER_NAME and HTTP_HOST do not mix two hosts into one."""
    found = check(Pair(nginx), LINES)
    for case in ("absolute", "absolute with a port"):
        (seen,), (entry,) = found[case][0].calls, found[case][1].log
        assert (seen["HTTP_HOST"], entry["host"]) == ("a", "other")
