"""wsgi_status: where it may stand, and what may not stand beside it."""

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

ALONE = '"wsgi_status" must be the only handler of its location'


@pytest.mark.parametrize("server", [
    "location /status { wsgi_status; }",
    "location = /status { wsgi_status; allow 127.0.0.1; deny all; }",
    "location /a { wsgi_status; } location /b { wsgi_status; }",
    "location / { wsgi_pass app.py; location /status { wsgi_status; } }",
    "location /status { wsgi_status; location /status/app { wsgi_pass app.py; } }",
    "location /status { wsgi_status; limit_except GET { deny all; } }",
    "location /status { wsgi_status; if ($arg_app) { wsgi_pass app.py; } }",
])
def test_accepted(nginx, app, server):
    app("")
    accepts(nginx(server, start=False))


@pytest.mark.parametrize("place", ["main", "events", "http", "server", "if", "limit_except", "server if"])
def test_refused_level(nginx, place):
    blocks = {"if": "location / { if ($arg_x) {\nwsgi_status;\n} }", "server": "\nwsgi_status;\n",
              "limit_except": "location / { limit_except GET {\nwsgi_status;\n} }",
              "server if": "if ($arg_x) {\nwsgi_status;\n}"}
    more = {place: "\nwsgi_status;\n"} if place not in blocks else {}
    refuses(nginx(blocks.get(place, ""), start=False, **more), "wsgi_status;", not_allowed("wsgi_status"))


@pytest.mark.parametrize("marker, text, message", [
    ("status on", "wsgi_status on;", wrong_count("wsgi_status")),
    ("second", "wsgi_status;\nwsgi_status; # second", duplicate("wsgi_status")),
    ("wsgi_status", "wsgi_pass app.py;\nwsgi_status;", ALONE),
    ("wsgi_pass", "wsgi_status;\nwsgi_pass app.py;", ALONE),
    ("wsgi_status", "stub_status;\nwsgi_status;", ALONE),
    ("wsgi_status", "wsgi_status;\nstub_status;", ALONE),
    ("wsgi_status", "wsgi_status;\nproxy_pass http://127.0.0.1:1;", ALONE),
])
def test_refused(nginx, app, marker, text, message):
    app("")
    refuses(nginx("location / {\n%s\n}" % text, start=False), marker, message)
