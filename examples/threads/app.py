"""Waits, as for a slow database, and shows meanwhile what the threads of this worker are doing.

Two callables of one script share its module. `application` is called in the threads of a pool and blocks them with a
good conscience: the event loop of nginx goes on. `status` is called by that event loop itself, so it answers at once
even while all threads are busy; it must not wait for anything.
"""

import html
import os
import threading
import time

# What each thread is doing: its name, and what for and since when, or nothing.
busy = {}
served = {}

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="1">
<title>threads</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.55 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 2rem 1rem; }}
  table {{ border-collapse: collapse; width: 100%; }}
  td, th {{ border: 1px solid #8886; padding: .3rem .6rem; text-align: left; }}
  code {{ overflow-wrap: anywhere; }}
</style>
<h1>{busy} of {known} threads busy</h1>
<p>These are the threads of worker {pid} that have served something. This page comes from the event loop, and loads
itself again each second; <a href="/status">the status</a> tells of all workers. Give them something to do:</p>
<p><code>for n in 1 2 3 4 5 6; do curl -s "http://{host}/threads/wait?seconds=5" &amp; done; wait</code></p>
<table>
<tr><th>thread</th><th>now</th><th>requests before</th></tr>
{rows}
</table>
"""


def application(environ, start_response):
    """Sleeps as long as asked for."""
    name = threading.current_thread().name
    seconds = wanted(environ["QUERY_STRING"])
    started = time.monotonic()
    busy[name] = (f"sleeps for {seconds:g} s", started)
    try:
        time.sleep(seconds)
    finally:
        busy[name] = None
        served[name] = served.get(name, 0) + 1
    text = f"{name} of worker {os.getpid()} has slept for {time.monotonic() - started:.3f} s\n"
    return answer(start_response, "text/plain; charset=utf-8", text)


def status(environ, start_response):
    """What the threads are doing. A copy first: they go on meanwhile."""
    now = time.monotonic()
    rows = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td>{f'{work[0]}, since {now - work[1]:.1f} s' if work else 'idle'}</td>"
        f"<td>{served.get(name, 0)}</td></tr>" for name, work in sorted(busy.copy().items()))
    page = PAGE.format(busy=sum(map(bool, busy.copy().values())), known=len(busy), pid=os.getpid(), rows=rows,
                       host=html.escape(environ.get("HTTP_HOST", "127.0.0.1:8080")))
    return answer(start_response, "text/html; charset=utf-8", page)


def wanted(query):
    """The number in `seconds=...`, from 0 to 60; 1 without one."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == "seconds":
            try:
                return min(60.0, max(0.0, float(value)))
            except ValueError:
                break
    return 1.0


def answer(start_response, kind, text):
    body = text.encode()
    start_response("200 OK", [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ])
    return [body]
