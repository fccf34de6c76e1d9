"""Directives that are on or off, and lists of headers: where they may stand, and what they refuse."""

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

FLAGS = ["wsgi_write_buffering", "wsgi_output_buffering", "wsgi_optimize_send_headers", "wsgi_allow_ranges",
         "wsgi_pass_request_body", "wsgi_intercept_errors"]
LISTS = ["wsgi_hide_header", "wsgi_pass_header"]


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_flag_accepted(nginx, app, name, level):
    app("")
    text = {key: f"{name} on;" if key == level else "" for key in ("http", "server", "location")}
    accepts(nginx(text["server"] + "location / { %s wsgi_pass app.py; }" % text["location"], http=text["http"],
                  start=False))


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("arguments, message", [
    ("", wrong_count("%")), (" on off", wrong_count("%")),
    (" 1", 'invalid value "1" in "%" directive, it must be "on" or "off"'),
    (" true", 'invalid value "true" in "%" directive, it must be "on" or "off"'),
    (" $on", 'invalid value "$on" in "%" directive, it must be "on" or "off"'),
    (" ON; % off", duplicate("%")), (" off; % off", duplicate("%")),
])
def test_flag_refused(nginx, name, arguments, message):
    directive = name + arguments.replace("%", name) + ";"
    refuses(nginx(f"\n{directive}\n", start=False), directive, message.replace("%", name))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_list_accepted(nginx, app, name, level):
    """As often as one likes."""
    app("")
    text = {key: f"{name} X-One; {name} X-Two; {name} X-One;" if key == level else ""
            for key in ("http", "server", "location")}
    accepts(nginx(text["server"] + "location / { %s wsgi_pass app.py; }" % text["location"], http=text["http"],
                  start=False))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("arguments, message", [
    ("", wrong_count("%")), (" X-One X-Two", wrong_count("%")),
    (' ""', 'invalid header name "" in "%"'), (" X-One:", 'invalid header name "X-One:" in "%"'),
])
def test_list_refused(nginx, name, arguments, message):
    directive = f"{name}{arguments};"
    refuses(nginx(f"\n{directive}\n", start=False), directive, message.replace("%", name))


@pytest.mark.parametrize("name", [*FLAGS, *LISTS])
@pytest.mark.parametrize("place", ["main", "events", "if"])
def test_refused_level(nginx, name, place):
    value = "X-One" if name in LISTS else "on"
    if place == "if":
        server = nginx(f"location / {{ if ($arg_x) {{\n{name} {value};\n}} }}", start=False)
    else:
        server = nginx(start=False, **{place: f"{name} {value};"})
    refuses(server, name, not_allowed(name))
