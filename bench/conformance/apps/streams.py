"""Answers for rules 16 to 21: wsgi.input and wsgi.errors."""

import itertools

from conformance.apps.call_and_environ import at_ok
from conformance.apps.tools import note, plain, query, report, tried


def at_input(environ, start_response):
    stream = environ["wsgi.input"]
    return report(start_response, [tried(stream.read, 3), tried(stream.readline), tried(stream.read, 5),
                                   tried(stream.readlines)])


def at_hint(environ, start_response):
    return report(start_response, tried(environ["wsgi.input"].readlines, 1))


def at_iterated(environ, start_response):
    return report(start_response, tried(lambda: list(itertools.islice(environ["wsgi.input"], 10))))


def at_line_size(environ, start_response):
    stream = environ["wsgi.input"]
    return report(start_response, [tried(stream.readline, 3), tried(stream.readline), tried(stream.readline, 100)])


def at_read_all(environ, start_response):
    arguments = [-1] if query(environ) else []
    return report(start_response, tried(environ["wsgi.input"].read, *arguments))


def at_past_end(environ, start_response):
    stream = environ["wsgi.input"]
    return report(start_response, [tried(stream.read, 4), tried(stream.read, 100000), tried(stream.read, 5),
                                   tried(stream.read), tried(stream.readline)])


def at_echo(environ, start_response):
    data = environ["wsgi.input"].read()
    start_response("200 OK", plain(("Content-Length", str(len(data)))))
    return [data]


def at_errors(environ, start_response):
    errors = environ["wsgi.errors"]
    return report(start_response, [
        tried(lambda: errors.write("conformance first\n") and None),
        tried(lambda: errors.writelines(["conformance ", "second\n"])),
        tried(lambda: print("conformance third", file=errors)), tried(errors.flush)])


def at_errors_unicode(environ, start_response):
    errors = environ["wsgi.errors"]
    return report(start_response, tried(lambda: errors.write("conformance \u20ac \U0001f600\n") and None))


def at_errors_flushed(environ, start_response):
    environ["wsgi.errors"].write("conformance without a line end")
    environ["wsgi.errors"].flush()
    return at_ok(environ, start_response)


def at_upload(environ, start_response):
    count = 0
    note("called")
    try:
        while data := environ["wsgi.input"].read(7):
            count += len(data)
        note("ended", count)
    except Exception as error:
        note("raised", type(error).__name__)
        raise
    return at_ok(environ, start_response)
