"""A page composed of other locations: what SSI does with <!--# include -->, in Python.

Each `ngx.subrequest` is begun by nginx, all of them at the same time, and runs through its location as any request
does: applications, files, proxies, caches. The application is suspended by the empty block and goes on when all of
them are done.
"""

import html
import time

PARTS = ["/hello", "/subrequests/file", "/subrequests/cached", "/sleep?seconds=0.5", "/sleep?seconds=0.5",
         "/subrequests/nowhere"]

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>subrequests</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.55 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 2rem 1rem; }}
  section {{ border: 1px solid #8886; border-radius: .5rem; margin: 1rem 0; padding: 0 1rem; }}
  pre {{ overflow-x: auto; }}
</style>
<h1>subrequests</h1>
<p>{count} parts in {seconds:.2f} s, for connection {connection} of this server.</p>
{parts}
</html>
"""


def application(environ, start_response):
    started = time.monotonic()
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")])
    asked = []
    for part in PARTS:
        uri, _, args = part.partition("?")
        asked.append((part, environ["ngx.subrequest"](uri, args)))
    yield b""
    parts = [section(part, answer()) for part, answer in asked]
    environ["ngx.variable"]("parts", str(len(parts)))   # the head goes out with the first block
    yield PAGE.format(count=len(parts), seconds=time.monotonic() - started, parts="\n".join(parts),
                      connection=environ["ngx.variable"]("connection")).encode()


def section(part, answer):
    """One answer as HTML. A real page would look at the status and take the body as it is."""
    headers = {name.lower(): value for name, value in answer.headers}
    body = html.escape(answer.body[:1000].decode("utf-8", "replace"))
    kind = html.escape(headers.get("content-type", "no type"))
    return (f"<section><h2>{html.escape(part)}</h2>\n<p>{answer.status}, {kind}, {len(answer.body)} bytes</p>\n"
            f"<pre>{body}</pre></section>")
