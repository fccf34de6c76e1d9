"""wsgi_script_reloading, wsgi_reload_mechanism: where they may stand, and what is refused."""

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

FLAG = "wsgi_script_reloading"
MECHANISM = "wsgi_reload_mechanism"
DIRECTIVES = [f"{FLAG} on;", f"{FLAG} off;", f"{MECHANISM} module;", f"{MECHANISM} process;",
              f"{FLAG} on; {MECHANISM} module;", f"{FLAG} on; {MECHANISM} process;"]


@pytest.mark.parametrize("level", ["http", "server", "location"])
@pytest.mark.parametrize("directives", DIRECTIVES)
def test_accepted_level(nginx, app, level, directives):
    app("")
    accepts(nginx((directives if level == "server" else "")
                  + "location / { %s wsgi_pass app.py; }" % (directives if level == "location" else ""),
                  http=directives if level == "http" else "", start=False))


@pytest.mark.parametrize("place", ["main", "events"])
@pytest.mark.parametrize("directive", [f"{FLAG} on;", f"{MECHANISM} module;"])
def test_refused_level(nginx, place, directive):
    name = directive.split()[0]
    refuses(nginx(start=False, **{place: directive}), name, not_allowed(name))


@pytest.mark.parametrize("directive, said", [
    (f"{FLAG};", wrong_count(FLAG)),
    (f"{FLAG} on off;", wrong_count(FLAG)),
    (f"{FLAG} auto;", f'invalid value "auto" in "{FLAG}" directive, it must be "on" or "off"'),
    (f'{FLAG} "";', f'invalid value "" in "{FLAG}" directive, it must be "on" or "off"'),
    (f"{MECHANISM};", wrong_count(MECHANISM)),
    (f"{MECHANISM} module process;", wrong_count(MECHANISM)),
    *[(f"{MECHANISM} {value};", f'invalid value "{value}" in "{MECHANISM}" directive, '
       'it must be "module" or "process"') for value in ("on", "off", "modules", "interpreter")],
])
def test_refused(nginx, directive, said):
    refuses(nginx(f"\n{directive}\n", start=False), directive, said)


@pytest.mark.parametrize("first, second", [(f"{FLAG} on;", f"{FLAG} off;"),
                                           (f"{MECHANISM} module;", f"{MECHANISM} process;")])
def test_duplicate(nginx, first, second):
    refuses(nginx(f"{first}\n{second}\n", start=False), second, duplicate(second.split()[0]))
