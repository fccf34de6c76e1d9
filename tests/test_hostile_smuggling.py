"""Requests that two servers in a row might read differently: Python sees exactly those that nginx sees.

Whether a request is refused is nginx's business, and changes with its version. What must not happen is that the
module reads lengths, lines or encodings for itself: see harness/hostile.py.
"""

import pytest

from harness.hostile import Pair, check

# Whoever takes a body for a request, or a request for a body, shows it here.
NEXT = b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n"


def post(*lines, body=b"", target=b"/first", host=b"Host: a\r\n", end=NEXT):
    head = b"".join(line + b"\r\n" for line in lines)
    return b"POST " + target + b" HTTP/1.1\r\n" + host + head + b"\r\n" + body + end


def chunked(body, *lines):
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


CL4, TE = b"Content-Length: 4", b"Transfer-Encoding: chunked"
ZERO = b"0\r\n\r\n"
LENGTHS = {
    "CL and TE": post(CL4, TE, body=ZERO),
    "TE and CL": post(TE, CL4, body=b"4\r\nabcd\r\n" + ZERO),
    "CL and TE in HTTP/1.0": post(CL4, TE, body=ZERO).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "CL twice, the same": post(CL4, CL4, body=b"abcd"),
    "CL twice, different": post(CL4, b"Content-Length: 0", body=b"abcd"),
    "CL twice, by case": post(CL4, b"content-LENGTH: 0", body=b"abcd"),
    "CL a list": post(b"Content-Length: 4, 4", body=b"abcd"),
    "CL +4": post(b"Content-Length: +4", body=b"abcd"),
    "CL -4": post(b"Content-Length: -4", body=b"abcd"),
    "CL ' 4'": post(b"Content-Length:  4", body=b"abcd"),
    "CL 4 and a tab": post(b"Content-Length: 4\t", body=b"abcd"),
    "CL '4 4'": post(b"Content-Length: 4 4", body=b"abcd"),
    "CL 0x4": post(b"Content-Length: 0x4", body=b"abcd"),
    "CL 4.0": post(b"Content-Length: 4.0", body=b"abcd"),
    "CL 4e0": post(b"Content-Length: 4e0", body=b"abcd"),
    "CL 0004": post(b"Content-Length: 0004", body=b"abcd"),
    "CL empty": post(b"Content-Length:", body=b"abcd"),
    "CL huge": post(b"Content-Length: 99999999999999999999999999", body=b"abcd"),
    "CL 2**63": post(b"Content-Length: 9223372036854775808", body=b"abcd"),
    "CL 2**64 + 4": post(b"Content-Length: 18446744073709551620", body=b"abcd"),
    "CL fullwidth": post("Content-Length: \uff14".encode(), body=b"abcd"),
    "CL too short": post(b"Content-Length: 2", body=b"abcd"),
    "CL too long": post(b"Content-Length: 40", body=b"abcd"),
    "CL with a space before the colon": post(b"Content-Length : 4", body=b"abcd"),
    "CL with an underscore": post(b"Content_Length: 4", body=b"abcd"),
    "CL by TAB": post(b"Content-Length\t: 4", body=b"abcd"),
    "CL folded": post(b"Content-Length:\r\n 4", body=b"abcd"),
    "CL of a GET": post(CL4, body=b"abcd").replace(b"POST", b"GET", 1),
    "no length": post(body=b"abcd"),
}
CODINGS = {
    "TE twice": post(TE, TE, body=ZERO),
    "TE twice, different": post(TE, b"Transfer-Encoding: identity", body=ZERO),
    "TE xchunked": post(b"Transfer-Encoding: xchunked", body=ZERO),
    "TE chunked, identity": post(b"Transfer-Encoding: chunked, identity", body=ZERO),
    "TE identity, chunked": post(b"Transfer-Encoding: identity, chunked", body=ZERO),
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=ZERO),
    "TE identity": post(b"Transfer-Encoding: identity", CL4, body=b"abcd"),
    "TE CHUNKED": post(b"Transfer-Encoding: CHUNKED", body=b"4\r\nabcd\r\n" + ZERO),
    "TE quoted": post(b'Transfer-Encoding: "chunked"', body=ZERO),
    "TE empty": post(b"Transfer-Encoding:", body=ZERO),
    "TE with a tab": post(b"Transfer-Encoding:\tchunked", body=ZERO),
    "TE with a vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=ZERO),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked", body=ZERO),
    "TE with a space before the colon": post(b"Transfer-Encoding : chunked", body=ZERO),
    "TE with an underscore": post(b"Transfer_Encoding: chunked", body=ZERO),
    "TE behind a folded line": post(b"X-A: 1", b" Transfer-Encoding: chunked", body=ZERO),
    "TE behind a bare CR": post(b"X-A: 1\rTransfer-Encoding: chunked", body=ZERO),
    "TE behind a bare LF": post(b"X-A: 1\nTransfer-Encoding: chunked", body=ZERO),
    "TE behind NUL": post(b"X-A: 1\0Transfer-Encoding: chunked", body=ZERO),
    "TE in HTTP/1.0": post(TE, body=ZERO).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "TE of a GET": post(TE, body=b"4\r\nabcd\r\n" + ZERO).replace(b"POST", b"GET", 1),
}
CHUNKS = {
    "plain": chunked(b"4\r\nabcd\r\n3\r\nefg\r\n" + ZERO),
    "extension": chunked(b"4;a=b\r\nabcd\r\n0;x\r\n\r\n"),
    "extension in quotes": chunked(b'4;a="\\"\r\nabcd\r\n' + ZERO),
    "extension with LF": chunked(b"4;a\nabcd\r\n" + ZERO),
    "extension with CR": chunked(b"4;a\rb\r\nabcd\r\n" + ZERO),
    "space after the size": chunked(b"4 \r\nabcd\r\n" + ZERO),
    "tab after the size": chunked(b"4\t\r\nabcd\r\n" + ZERO),
    "space before the size": chunked(b" 4\r\nabcd\r\n" + ZERO),
    "+4": chunked(b"+4\r\nabcd\r\n" + ZERO),
    "-4": chunked(b"-4\r\nabcd\r\n" + ZERO),
    "0x4": chunked(b"0x4\r\nabcd\r\n" + ZERO),
    "leading zeros": chunked(b"00000000000000000004\r\nabcd\r\n" + ZERO),
    "no size": chunked(b"\r\nabcd\r\n" + ZERO),
    "no number": chunked(b"zz\r\nabcd\r\n" + ZERO),
    "overflow of 64 bits": chunked(b"10000000000000004\r\nabcd\r\n" + ZERO),
    "2**63": chunked(b"8000000000000000\r\nabcd\r\n" + ZERO),
    "2**63 - 1": chunked(b"7fffffffffffffff\r\nabcd\r\n" + ZERO),
    "sizes that overflow together": chunked(b"4\r\nabcd\r\n7ffffffffffffffc\r\nabcd\r\n" + ZERO),
    "bare LF": chunked(b"4\nabcd\n0\n\n"),
    "bare CR": chunked(b"4\rabcd\r0\r\r"),
    "data too long": chunked(b"4\r\nabcdef\r\n" + ZERO),
    "data too short": chunked(b"6\r\nabcd\r\n" + ZERO),
    "no CR LF after the data": chunked(b"4\r\nabcd0\r\n\r\n"),
    "trailers": chunked(b"4\r\nabcd\r\n0\r\nContent-Length: 99\r\nX-T: 1\r\n\r\n"),
    "trailer with bare LF": chunked(b"4\r\nabcd\r\n0\r\nX-T: 1\n\r\n"),
    "last chunk 00": chunked(b"4\r\nabcd\r\n00\r\n\r\n"),
    "no last chunk": post(TE, body=b"4\r\nabcd\r\n", end=b""),
    "no end after the last chunk": post(TE, body=b"4\r\nabcd\r\n0\r\n", end=b""),
    "a request in a chunk": chunked(b"%x\r\n%b\r\n" % (len(NEXT), NEXT) + ZERO),
}
TRAILING = {
    "a request as the body": post(b"Content-Length: %d" % len(NEXT), body=NEXT),
    "half a request as the body": post(b"Content-Length: 10", body=NEXT),
    "rubbish behind the body": post(CL4, body=b"abcd", end=b"rubbish\r\n\r\n"),
    "NUL behind the body": post(CL4, body=b"abcd", end=b"\0\0\0\0\r\n\r\n"),
    "CR LF behind the body": post(CL4, body=b"abcd\r\n\r\n"),
    "LF behind the body": post(CL4, body=b"abcd\n"),
    "a response behind the body": post(CL4, body=b"abcd", end=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "five requests": post(CL4, body=b"abcd", end=NEXT * 4),
    "close, and another one": post(CL4, b"Connection: close", body=b"abcd"),
    "Connection names Content-Length": post(CL4, b"Connection: Content-Length", body=b"abcd"),
    "Connection names TE": post(TE, b"Connection: Transfer-Encoding", body=b"4\r\nabcd\r\n" + ZERO),
    "Expect": post(CL4, b"Expect: 100-continue", body=b"abcd"),
    "Expect something else": post(CL4, b"Expect: 200-ok", body=b"abcd"),
    "Upgrade to h2c": post(CL4, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk",
                           body=b"abcd"),
}
# Of these each version of nginx makes the same: none reaches Python, or only what is given here does.
REFUSED = {"CL and TE", "TE and CL", "CL twice, the same", "CL twice, different", "CL twice, by case", "CL a list",
           "CL +4", "CL -4", "CL '4 4'", "CL 0x4", "CL 4.0", "CL 4e0", "CL empty", "CL huge", "CL 2**63",
           "CL 2**64 + 4", "CL fullwidth", "TE twice, different", "TE xchunked", "TE chunked, identity",
           "TE identity, chunked", "TE gzip, chunked", "TE quoted", "+4", "-4", "0x4", "no number", "CL too long",
           "overflow of 64 bits", "data too short", "data too long", "no last chunk", "no end after the last chunk"}
assert REFUSED <= {*LENGTHS, *CODINGS, *CHUNKS, *TRAILING}


FAMILIES = pytest.mark.parametrize("cases", [LENGTHS, CODINGS, CHUNKS, TRAILING],
                                   ids=["lengths", "codings", "chunks", "trailing"])


@FAMILIES
@pytest.mark.parametrize("threads", ["", "wsgi_threads 2;"], ids=["inline", "threads"])
def test_python_sees_what_nginx_sees(nginx, cases, threads):
    check(Pair(nginx, ours=threads), cases, REFUSED)


@FAMILIES
def test_unbuffered(nginx, cases):
    """The application may be called before the body is known to be wrong, but then it cannot read to its end."""
    check(Pair(nginx, ours="wsgi_threads 2; wsgi_request_buffering off;"), cases, REFUSED, buffered=False)
