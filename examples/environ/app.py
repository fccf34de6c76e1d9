"""Shows what nginx tells an application about a request: the environ dictionary, as a table."""

import html
import platform
import sys

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>environ</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
  table {{ border-collapse: collapse; width: 100%; }}
  th, td {{ border-top: 1px solid #8886; padding: .3rem .5rem .3rem 0; text-align: left; vertical-align: top; }}
  th {{ font-weight: 600; }}
  td {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
  @media (max-width: 40rem) {{ th, td {{ display: block; }} td {{ border-top: 0; padding-top: 0; }} }}
</style>
<h1>environ</h1>
<p>Python {python}, {count} keys. Try a <a href="{script_name}/some/path?a=1&amp;b=2">path and a query</a>.</p>
<table>
{rows}
</table>
</html>
"""


def application(environ, start_response):
    rows = "\n".join(
        f"<tr><th scope=\"row\">{html.escape(key)}</th><td>{html.escape(repr(value))}</td></tr>"
        for key, value in sorted(environ.items()))
    page = PAGE.format(
        python=html.escape(platform.python_version() + ", " + sys.executable), count=len(environ),
        script_name=html.escape(environ.get("SCRIPT_NAME", "")), rows=rows)
    # The strings in environ hold bytes, one per character (Latin-1). Nothing says that those bytes are UTF-8, so
    # whatever is not ASCII goes out as a character reference.
    body = page.encode("ascii", "xmlcharrefreplace")
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
