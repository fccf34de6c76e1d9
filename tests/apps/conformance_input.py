"""Carries out a list of operations on wsgi.input and answers what each gave, so that a test can compare with BytesIO.

The operations come as JSON in the query string: ["read", 3], ["readline"], ["iter", 2], ... Bytes come back as
Latin-1 text, an exception as {"raised": name}.
"""

import itertools
import json
import urllib.parse


def shown(value):
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1") if type(value) is bytes else {"not bytes": type(value).__name__}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


def carry_out(stream, operations):
    results = []
    for name, *arguments in operations:
        try:
            if name == "iter":
                result = list(itertools.islice(iter(stream), *arguments))
            elif name == "next":
                result = next(stream)
            else:
                result = getattr(stream, name)(*arguments)
        except BaseException as error:
            result = {"raised": type(error).__name__}
        results.append(shown(result))
    return results


def application(environ, start_response):
    operations = json.loads(urllib.parse.unquote(environ["QUERY_STRING"]))
    body = json.dumps(carry_out(environ["wsgi.input"], operations)).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
