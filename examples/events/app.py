"""Server-sent events: once a second, what this worker is busy with.

Between two events the request sleeps in a timer of nginx (`ngx.sleep`). A thousand visitors are a thousand suspended
generators, and no thread. Each stream ends after a minute, so that it does not hold up a worker which a reload wants to
end; browsers come again by themselves, and say in Last-Event-ID what they have seen last.
"""

import json
import os
import time

EVENTS_OF_A_STREAM = 60

streams = 0
started = time.monotonic()

PAGE = b"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>events</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 1rem/1.55 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 2rem 1rem; }
  dt { float: left; clear: left; width: 9rem; }
  dd { font: 1rem/1.55 ui-monospace, monospace; margin-left: 9rem; }
</style>
<h1>events</h1>
<p>One line a second, sent by the worker:</p>
<dl><dt>event</dt><dd id="id">&nbsp;</dd><dt>worker</dt><dd id="worker"></dd><dt>streams</dt><dd id="streams"></dd>
<dt>CPU seconds</dt><dd id="cpu"></dd><dt>up since</dt><dd id="seconds"></dd></dl>
<script>
  const source = new EventSource("stream");
  source.onmessage = event => {
    document.getElementById("id").textContent = event.lastEventId;
    for (const [name, value] of Object.entries(JSON.parse(event.data)))
      document.getElementById(name).textContent = value;
  };
</script>
</html>
"""


def application(environ, start_response):
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-store"),
            ("X-Accel-Buffering", "no"),                # each event at once, whatever wsgi_output_buffering says
        ])
        return stream(environ)
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def stream(environ):
    global streams
    seen = environ.get("HTTP_LAST_EVENT_ID", "")
    number = int(seen) if seen.isascii() and seen.isdigit() else 0
    streams += 1
    try:
        for _ in range(EVENTS_OF_A_STREAM):
            number += 1
            yield f"id: {number}\ndata: {json.dumps(state())}\n\n".encode()
            yield environ["ngx.sleep"](1000)
    finally:
        streams -= 1
        print(f"events: a stream has ended, {streams} are left")


def state():
    return {"worker": os.getpid(), "streams": streams, "cpu": round(time.process_time(), 2),
            "seconds": round(time.monotonic() - started, 1)}
