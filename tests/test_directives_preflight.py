"""wsgi_preflight, wsgi_preflight_timeout: where they may stand, and what is refused."""

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

FLAG = "wsgi_preflight"
TIMEOUT = "wsgi_preflight_timeout"


@pytest.mark.parametrize("directives", [f"{FLAG} on;", f"{FLAG} off;", f"{TIMEOUT} 5s;", f"{FLAG} on; {TIMEOUT} 1m;",
                                        f"{FLAG} on; {TIMEOUT} 1500ms;", f"{FLAG} off; {TIMEOUT} 30;"])
def test_accepted(nginx, app, directives):
    app("application = print\n")
    accepts(nginx("location / { wsgi_pass app.py; }", http=directives, start=False))


@pytest.mark.parametrize("place", ["main", "events", "server"])
@pytest.mark.parametrize("directive", [f"{FLAG} on;", f"{TIMEOUT} 5s;"])
def test_refused_level(nginx, place, directive):
    name = directive.split()[0]
    refuses(nginx(start=False, **{place: directive}), directive, not_allowed(name))


@pytest.mark.parametrize("directive", [f"{FLAG} on;", f"{TIMEOUT} 5s;"])
def test_refused_in_a_location(nginx, directive):
    name = directive.split()[0]
    refuses(nginx("location / { %s }" % directive, start=False), directive, not_allowed(name))


@pytest.mark.parametrize("directive, said", [
    (f"{FLAG};", wrong_count(FLAG)),
    (f"{FLAG} on off;", wrong_count(FLAG)),
    (f"{FLAG} auto;", f'invalid value "auto" in "{FLAG}" directive, it must be "on" or "off"'),
    (f"{TIMEOUT};", wrong_count(TIMEOUT)),
    (f"{TIMEOUT} 1s 2s;", wrong_count(TIMEOUT)),
])
def test_refused(nginx, directive, said):
    refuses(nginx(http=f"\n{directive}\n", start=False), directive, said)


@pytest.mark.parametrize("value", ["soon", "-1", "off", '""', "1x"])
def test_a_time_that_is_none(nginx, value):
    accepted, output = nginx(http=f"\n{TIMEOUT} {value};\n", start=False).test_config()
    assert not accepted and f'"{TIMEOUT}" directive' in output, output


@pytest.mark.parametrize("first, second", [(f"{FLAG} on;", f"{FLAG} off;"), (f"{TIMEOUT} 1s;", f"{TIMEOUT} 2s;")])
def test_duplicate(nginx, first, second):
    refuses(nginx(http=f"{first}\n{second}\n", start=False), second, duplicate(second.split()[0]))
