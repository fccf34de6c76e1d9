"""Answers for rules 42 to 45: exceptions, HEAD, 204, 206 and 304; wsgiref.validate."""

from wsgiref.validate import validator

from conformance.apps.tools import Body, note, plain, query


def at_raises(environ, start_response):
    start_response("200 OK", plain(("X-First", "1"), ("Set-Cookie", "a=1")))
    raise RuntimeError("conformance planned failure")


def at_raises_in_the_middle(environ, start_response):
    start_response("200 OK", plain())
    return Body(b"part", ValueError("planned"))


def at_no_body(environ, start_response):
    start_response(query(environ) + " Status", [])
    return [b"a body"]


def at_no_length(environ, start_response):
    start_response("204 No Content", [])
    return []


def at_method(environ, start_response):
    start_response("200 OK", plain(("X-Method", environ["REQUEST_METHOD"])))
    return [b"a body"]


def at_partial(environ, start_response):
    start_response("206 Partial Content", plain(("Content-Range", "bytes 2-3/10"), ("Content-Length", "2")))
    return [b"23"]


def at_not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"a"')])
    return []


def at_bytes(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    return [bytes(range(256)), b"\r\n\n\r", b"<p>\n"]


def validated(environ, start_response):
    stream = environ["wsgi.input"]
    data = b"".join(iter(lambda: stream.read(4), b"")) if environ.get("CONTENT_LENGTH") else b""
    environ["wsgi.errors"].write("")
    start_response("200 OK", plain())
    return iter([b"valid ", data])


def at_validate(environ, start_response):
    try:
        return validator(validated)(environ, start_response)
    except AssertionError as error:
        note("refused", error)
        raise
