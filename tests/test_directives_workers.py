"""wsgi_max_requests, wsgi_max_memory, wsgi_admission: where they may stand, and what is refused."""

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

REQUESTS = "wsgi_max_requests"
MEMORY = "wsgi_max_memory"
ADMISSION = "wsgi_admission"


@pytest.mark.parametrize("directive", [
    f"{REQUESTS} 0;", f"{REQUESTS} 1000;", f"{REQUESTS} 1000 jitter=0;", f"{REQUESTS} 1000 jitter=100;",
    f"{REQUESTS} 0 jitter=100;", f"{REQUESTS} 4294967295;",
    f"{MEMORY} 0;", f"{MEMORY} off;", f"{MEMORY} 500000000;", f"{MEMORY} 300000k;", f"{MEMORY} 512m;",
    f"{MEMORY} 2G;", f"{ADMISSION} on;", f"{ADMISSION} off;"])
def test_accepted(nginx, app, directive):
    app("")
    accepts(nginx("location / { wsgi_pass app.py; }", http=directive, start=False))
    accepts(nginx("location / { return 204; }", http=directive, start=False))


@pytest.mark.parametrize("place", ["main", "events", "server"])
@pytest.mark.parametrize("directive", [f"{REQUESTS} 1000;", f"{MEMORY} 1g;", f"{ADMISSION} on;"])
def test_refused_level(nginx, place, directive):
    name = directive.split()[0]
    refuses(nginx(start=False, **{place: directive}), name, not_allowed(name))


NUMBER = f'"{REQUESTS}" directive takes a number of requests'
SIZE = f'"{MEMORY}" directive takes a size or "off"'


@pytest.mark.parametrize("directive, said", [
    (f"{REQUESTS};", wrong_count(REQUESTS)),
    (f"{REQUESTS} 1 jitter=2 3;", wrong_count(REQUESTS)),
    *[(f'{REQUESTS} "{value}";', NUMBER) for value in ("", "off", "-1", "+1", "1k", "4294967296", "jitter=1")],
    *[(f"{REQUESTS} 100 jitter={value};", f'{NUMBER} as "jitter"') for value in ("", "a", "-1", "1.5")],
    (f"{REQUESTS} 100 200;", f'invalid parameter "200" in "{REQUESTS}"'),
    (f"{REQUESTS} 100 Jitter=5;", f'invalid parameter "Jitter=5" in "{REQUESTS}"'),
    (f"{MEMORY};", wrong_count(MEMORY)),
    (f"{MEMORY} 1g 2g;", wrong_count(MEMORY)),
    *[(f'{MEMORY} "{value}";', SIZE) for value in ("", "on", "-1", "1t", "1.5g", "50%")],
    (f"{ADMISSION};", wrong_count(ADMISSION)),
    (f"{ADMISSION} auto;", f'invalid value "auto" in "{ADMISSION}" directive, it must be "on" or "off"'),
])
def test_refused(nginx, directive, said):
    refuses(nginx(http=f"\n{directive}\n", start=False), directive, said)


@pytest.mark.parametrize("first, second", [
    (f"{REQUESTS} 1;", f"{REQUESTS} 1 jitter=1;"), (f"{MEMORY} off;", f"{MEMORY} 1g;"),
    (f"{ADMISSION} on;", f"{ADMISSION} off;")])
def test_duplicate(nginx, first, second):
    refuses(nginx(http=f"\n{first}\n{second}\n", start=False), second, duplicate(second.split()[0]))
