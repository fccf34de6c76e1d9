"""Downloads with a permission check: Python decides, nginx sends.

Whoever presses the button gets a signed cookie; with the cookie one gets files. A real site would ask for a password.
"""

import hmac
import html
import os
from http.cookies import SimpleCookie
from urllib.parse import quote

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>downloads</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }}
  form {{ display: inline; }}
</style>
<h1>Downloads</h1>
<p>Without a cookie of this site the links answer 403.</p>
<ul>{links}</ul>
<form method="post" action="login"><button>Log in</button></form>
<form method="post" action="logout"><button>Log out</button></form>
</html>
"""


def application(environ, start_response):
    name = environ["PATH_INFO"][1:]
    if environ["REQUEST_METHOD"] == "POST" and name in ("login", "logout"):
        value = signature(environ) if name == "login" else "; Max-Age=0"
        start_response("303 See Other", [
            ("Location", environ["SCRIPT_NAME"] + "/"),
            ("Content-Type", "text/plain"),
            ("Set-Cookie", f"downloads={value}; HttpOnly; SameSite=Lax; Path={environ['SCRIPT_NAME']}/"),
        ])
        return []
    if not name:
        links = "".join(f'<li><a href="{quote(file)}">{html.escape(file)}</a>' for file in sorted(os.listdir(FILES)))
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [PAGE.format(links=links).encode()]
    if not may_download(environ):
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"Log in first.\n"]
    start_response("200 OK", [
        ("X-Accel-Redirect", "/downloads-files/" + quote(name, encoding="latin-1")),
        ("X-Accel-Limit-Rate", "4000"),                 # bytes per second
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Disposition", "attachment"),
    ])
    return []                                           # nginx finds the file, or answers 404


def may_download(environ):
    cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get("downloads")
    return cookie is not None and hmac.compare_digest(cookie.value.encode(), signature(environ).encode())


def signature(environ):
    """What only this server can put into a cookie: the secret comes from nginx.conf."""
    return hmac.new(environ["downloads.secret"].encode(), b"may download", "sha256").hexdigest()
