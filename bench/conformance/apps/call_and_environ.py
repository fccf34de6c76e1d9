"""Answers for rules 1 to 15: the call and environ."""

import os
import time

from conformance.apps.tools import KEPT, plain, report


def at_ok(environ, start_response):
    start_response("200 OK", plain())
    return [b"ok"]


def at_call(environ, start_response):
    return report(start_response, KEPT["call"])


def at_environ(environ, start_response):
    entries = {str(key): [type(value).__name__, value if isinstance(value, (str, bool, int)) else repr(value)]
               for key, value in environ.items()}
    return report(start_response, {
        "type": f"{type(environ).__module__}.{type(environ).__name__}", "entries": entries,
        "keys": sorted({type(key).__name__ for key in environ}), "process": sorted(set(environ) & set(os.environ))})


def at_changed(environ, start_response):
    seen = "conformance.left" in environ
    environ["conformance.left"] = "behind"
    environ.pop("QUERY_STRING", None)
    environ.setdefault("HTTP_X_MADE", "up")
    return report(start_response, [f"{type(environ).__module__}.{type(environ).__name__}", seen])


def at_inside(environ, start_response):
    KEPT["inside"] = KEPT.get("inside", 0) + 1
    time.sleep(0.3)
    together = KEPT["inside"]
    time.sleep(0.1)
    KEPT["inside"] -= 1
    return report(start_response, [together, bool(environ["wsgi.multithread"])])
