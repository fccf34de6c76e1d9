"""Reads `wsgi_status`, in the format that is easiest to compare."""

import re

from .nginx import wait_for

LOCATION = "location = /status { wsgi_status; }"


def status(server, more=""):
    """The status as a dict."""
    answer = server.get(f"/status?format=json{more}")
    assert answer.status == 200, answer
    return answer.json()


def app(server, end="app.py"):
    """The application whose target ends like this."""
    found = [app for app in status(server)["applications"] if app["application"].endswith(end)]
    assert len(found) == 1, found
    return found[0]


def total(server, end="app.py"):
    """Its numbers, summed up over the workers."""
    return app(server, end)["total"]


def pids(server):
    """The processes that are shown."""
    return sorted(process["pid"] for worker in status(server)["workers"] for process in worker["processes"])


def at_rest(server):
    """The status once every request has ended: a client has its answer a moment before its worker is done with it."""
    def over():
        found = status(server)
        return found if not any(app["total"]["in_flight"] for app in found["applications"]) else None
    return wait_for(over, lambda: f"no request in flight: {status(server)['requests']}")


def wait_requests(server, count=1, state="running", more=""):
    """Waits until so many requests are in this state; all that are in flight."""
    def enough():
        requests = status(server, more)["requests"]
        return requests if sum(request["state"] == state for request in requests) >= count else None
    return wait_for(enough, lambda: f"{count} request(s) {state}: {status(server)['requests']}\n{server.tail()}")


def prometheus(text):
    """{(name, frozenset of labels): value} of the text format."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"([a-z_]+)\{(.*)\} (\S+)", line).groups()
        pairs = re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)', labels)
        assert ",".join(f'{key}="{text}"' for key, text in pairs) == labels, line
        key = name, frozenset(pairs)
        assert key not in samples, f"twice: {line}"
        samples[key] = float(value)
    return samples
