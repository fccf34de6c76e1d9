"""wsgi_enable_subinterpreters, wsgi_interpreter, wsgi_use_main_interpreter: who runs where, and what is refused."""

import pytest

from harness.apps import PRELUDE
from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

ENABLE = "wsgi_enable_subinterpreters"
USE_MAIN = "wsgi_use_main_interpreter"
NAMED = "wsgi_interpreter"
FLAGS = [ENABLE, USE_MAIN]
APP = PRELUDE + '''
try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters


def application(environ, start_response):
    """Answers the number of its interpreter; that of the main one is 0."""
    found = _interpreters.get_current()
    return answer(start_response, str(int(found[0] if isinstance(found, tuple) else found)).encode())
'''


def numbers(nginx, server, targets, **more):
    """The interpreter of each target."""
    made = nginx(server, apps={f"{name}.py": APP for name in ("one", "two", "three", "four")}, **more)
    found = []
    for target in targets:
        answer = made.get(target)
        assert answer.status == 200, made.tail()
        found.append(int(answer.text))
    return found


def different(found):
    return len(set(found)) == len(found) and 0 not in found


def test_the_main_interpreter_is_the_default(nginx):
    assert numbers(nginx, "location / { wsgi_pass one.py; } location /2 { wsgi_pass two.py; }", ["/", "/2"]) == [0, 0]


def test_each_application_gets_its_own(nginx):
    found = numbers(nginx, "location / { wsgi_pass one.py; } location /2 { wsgi_pass two.py; }", ["/", "/2"],
                    http=f"{ENABLE} on;")
    assert different(found)


@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_enabled_on_a_level(nginx, level):
    found = numbers(nginx, (f"{ENABLE} on;" if level == "server" else "")
                    + "location / { %s wsgi_pass one.py; }" % (f"{ENABLE} on;" if level == "location" else "")
                    + "location /2 { wsgi_pass two.py; }", ["/", "/2"], http=f"{ENABLE} on;" if level == "http" else "")
    if level == "location":
        assert found[0] != 0 and found[1] == 0
    else:
        assert different(found)


def test_off_further_in(nginx):
    found = numbers(nginx, f"""
        location / {{ wsgi_pass one.py; }}
        location /2 {{ {ENABLE} off; wsgi_pass two.py; }}
        location /outer/ {{ {ENABLE} off; location /outer/3 {{ wsgi_pass three.py; }} }}
        location /again/ {{ {ENABLE} off; location /again/4 {{ {ENABLE} on; wsgi_pass four.py; }} }}
    """, ["/2", "/outer/3", "/", "/again/4"], http=f"{ENABLE} on;")
    assert found[:2] == [0, 0]
    assert different(found[2:])


def test_use_main_interpreter(nginx):
    found = numbers(nginx, f"""
        location / {{ {USE_MAIN} on; wsgi_pass one.py; }}
        location /2 {{ wsgi_pass two.py; }}
        location /outer/ {{ {USE_MAIN} on; location /outer/3 {{ wsgi_pass three.py; }}
                            location /outer/4 {{ {USE_MAIN} off; wsgi_pass four.py; }} }}
    """, ["/", "/outer/3", "/2", "/outer/4"], http=f"{ENABLE} on;")
    assert found[:2] == [0, 0]
    assert different(found[2:])


def test_one_script_in_both_kinds(nginx):
    """The same script runs twice then: an application belongs to one interpreter."""
    found = numbers(nginx, f"""
        location / {{ {USE_MAIN} on; wsgi_pass one.py; }}
        location /2 {{ wsgi_pass one.py; }}
    """, ["/", "/2"], http=f"{ENABLE} on;")
    assert found[0] == 0 and found[1] != 0


def test_use_main_interpreter_without_sub_interpreters_changes_nothing(nginx):
    assert numbers(nginx, "location / { wsgi_pass one.py; }", ["/"], http=f"{USE_MAIN} on;") == [0]


def test_one_name_is_one_interpreter(nginx):
    first, second, third, fourth = numbers(nginx, f"""
        location / {{ {NAMED} shared; wsgi_pass one.py; }}
        location /2 {{ {NAMED} shared; wsgi_pass two.py; }}
        location /3 {{ {NAMED} other; wsgi_pass three.py; }}
        location /4 {{ wsgi_pass four.py; }}
    """, ["/", "/2", "/3", "/4"], http=f"{ENABLE} on;")
    assert first == second
    assert different([first, third, fourth])


def test_a_name_is_inherited(nginx):
    first, second, third = numbers(nginx, f"""
        {NAMED} server;
        location / {{ wsgi_pass one.py; }}
        location /2 {{ wsgi_pass two.py; }}
        location /outer/ {{ {NAMED} location; location /outer/3 {{ wsgi_pass three.py; }} }}
    """, ["/", "/2", "/outer/3"], http=f"{ENABLE} on; {NAMED} http;")
    assert first == second
    assert different([first, third])


def test_a_name_is_the_same_in_all_servers(nginx):
    server = nginx("location / { wsgi_pass one.py; }", http=f"{ENABLE} on; {NAMED} shared;", apps={
        "one.py": APP, "two.py": APP}, servers="""
        server { listen 127.0.0.1:%%PORT%%; server_name other; location / { wsgi_pass two.py; } }
    """)
    assert server.get("/").text == server.get("/", [("Host", "other")]).text != "0"


def test_the_main_interpreter_wins_over_a_name_from_outside(nginx):
    assert numbers(nginx, f"location / {{ {USE_MAIN} on; wsgi_pass one.py; }}", ["/"],
                   http=f"{ENABLE} on; {NAMED} shared;") == [0]


def test_a_name_is_no_use_where_sub_interpreters_are_off(nginx):
    assert numbers(nginx, f"location / {{ {ENABLE} off; wsgi_pass one.py; }}", ["/"],
                   http=f"{ENABLE} on; {NAMED} shared;") == [0]


def test_one_script_under_two_names_runs_in_both(nginx):
    assert different(numbers(nginx, f"""
        location / {{ {NAMED} a; wsgi_pass one.py; }}
        location /2 {{ {NAMED} b; wsgi_pass one.py; }}
    """, ["/", "/2"], http=f"{ENABLE} on;"))


@pytest.mark.parametrize("script", ["one.py", "%%FOLDER%%/one.py", "one.py:application"])
def test_callables_of_one_script_share_its_interpreter(nginx, script):
    first, second = numbers(nginx, """
        location / { wsgi_pass one.py; }
        location /2 { wsgi_pass %s; }
    """ % script, ["/", "/2"], http=f"{ENABLE} on;")
    assert first == second != 0


def test_a_reload_changes_it(nginx):
    server = nginx("location / { wsgi_pass one.py; }", apps={"one.py": APP})
    assert server.get("/").text == "0"
    server.hup(http=f"{ENABLE} on;")
    assert server.get("/").text != "0"
    server.hup(http=f"{ENABLE} on; {USE_MAIN} on;")
    assert server.get("/").text == "0"


@pytest.mark.parametrize("level", ["http", "server", "location"])
@pytest.mark.parametrize("directives", [f"{ENABLE} on;", f"{ENABLE} off;", f"{USE_MAIN} on;", f"{USE_MAIN} off;",
                                        f"{ENABLE} on; {NAMED} shop;",
                                        f"{ENABLE} on; {NAMED} shop; {USE_MAIN} off;",
                                        f'{ENABLE} on; {NAMED} "a name / with things";'])
def test_accepted(nginx, app, level, directives):
    app("", "one.py")
    accepts(nginx((directives if level == "server" else "")
                  + "location / { %s wsgi_pass one.py; }" % (directives if level == "location" else ""),
                  http=directives if level == "http" else "", start=False))


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("arguments", ["", " on off"])
def test_a_flag_takes_one_value(nginx, name, arguments):
    refuses(nginx(f"\n{name}{arguments};\n", start=False), f"{name}{arguments};", wrong_count(name))


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["yes", "1", '""', "auto"])
def test_a_flag_is_on_or_off(nginx, name, value):
    refuses(nginx(f"\n{name} {value};\n", start=False), f"{name} {value};",
            f'invalid value "{value.strip(chr(34))}" in "{name}" directive, it must be "on" or "off"')


@pytest.mark.parametrize("first, second", [(f"{ENABLE} on;", f"{ENABLE} off;"), (f"{USE_MAIN} on;", f"{USE_MAIN} off;"),
                                           (f"{NAMED} a;", f"{NAMED} b;")])
def test_duplicate(nginx, first, second):
    refuses(nginx(f"{first}\n{second}\n", start=False), second, duplicate(second.split()[0]))


@pytest.mark.parametrize("place", ["main", "events"])
@pytest.mark.parametrize("directive", [f"{ENABLE} on;", f"{USE_MAIN} on;", f"{NAMED} a;"])
def test_refused_level(nginx, place, directive):
    name = directive.split()[0]
    refuses(nginx(start=False, **{place: directive}), name, not_allowed(name))


@pytest.mark.parametrize("directive, said", [
    (f"{NAMED};", wrong_count(NAMED)),
    (f"{NAMED} a b;", wrong_count(NAMED)),
    (f'{NAMED} "";', f'"{NAMED}" takes a name'),
])
def test_a_name_that_is_none(nginx, directive, said):
    refuses(nginx(f"{ENABLE} on;\n{directive}\n", start=False), directive, said)


@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_a_name_needs_sub_interpreters(nginx, app, level):
    app("", "one.py")
    directive = f"\n{NAMED} shop;\n"
    server = nginx((directive if level == "server" else "")
                   + "location / { %s wsgi_pass one.py; }" % (directive if level == "location" else ""),
                   http=directive if level == "http" else "", start=False)
    refuses(server, f"{NAMED} shop;", f'"{NAMED}" needs "{ENABLE} on"')


def test_sub_interpreters_of_another_server_do_not_count(nginx, app):
    app("", "one.py")
    server = nginx(f"\n{NAMED} shop;\nlocation / {{ wsgi_pass one.py; }}", start=False, servers="""
        server { listen unix:%%FOLDER%%/b.sock; wsgi_enable_subinterpreters on; location / { wsgi_pass one.py; } }
    """)
    refuses(server, f"{NAMED} shop;", f'"{NAMED}" needs "{ENABLE} on"')


@pytest.mark.parametrize("enable", [
    dict(http=f"{ENABLE} on; {NAMED} shop;"),
    dict(http=f"{NAMED} shop;", server=f"{ENABLE} on;"),
    dict(server=f"{NAMED} shop; {ENABLE} on;"),
    dict(http=f"{ENABLE} on; {NAMED} shop;", server=f"{ENABLE} off;"),
])
def test_sub_interpreters_of_any_level_around_are_enough(nginx, app, enable):
    app("", "one.py")
    accepts(nginx(enable.get("server", "") + "location / { wsgi_pass one.py; }", http=enable.get("http", ""),
                  start=False))


@pytest.mark.parametrize("level", ["http", "server", "location"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_name_conflicts_with_the_main_interpreter(nginx, app, level, swapped):
    app("", "one.py")
    lines = [f"{NAMED} shop;", f"{USE_MAIN} on;"]
    directives = f"{ENABLE} on;\n" + "\n".join(reversed(lines) if swapped else lines) + "\n"
    server = nginx((directives if level == "server" else "")
                   + "location / { %s wsgi_pass one.py; }" % (directives if level == "location" else ""),
                   http=directives if level == "http" else "", start=False)
    refuses(server, f"{NAMED} shop;", f'"{NAMED}" conflicts with "{USE_MAIN} on"')


SEEN = """
import sys
sys.seen = getattr(sys, "seen", []) + [__file__.rsplit("/")[-1].removesuffix(".py")]


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(sorted(sys.seen)).encode()]
"""


def test_of_a_name_and_the_main_interpreter_the_inner_one_counts(nginx):
    server = nginx("""
        wsgi_enable_subinterpreters on;
        location /plain/ { wsgi_use_main_interpreter on; wsgi_pass plain.py; }
        location /outer/ { wsgi_use_main_interpreter on; wsgi_pass outer.py;
                           location /outer/named/ { wsgi_interpreter own; wsgi_pass inner.py; } }
        location /named/ { wsgi_interpreter own; wsgi_pass named.py;
                           location /named/main/ { wsgi_use_main_interpreter on; wsgi_pass main.py; } }
        """, apps={f"{name}.py": SEEN for name in ("plain", "outer", "inner", "named", "main")})
    for target in ("/plain/", "/outer/", "/named/main/"):
        assert server.get(target).text == "main outer plain", target
    for target in ("/named/", "/outer/named/"):
        assert server.get(target).text == "inner named", target
