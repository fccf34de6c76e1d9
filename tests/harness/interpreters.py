"""Three applications of one text: two in interpreters of their own, one in the main interpreter."""

import textwrap

from .apps import PRELUDE

ENABLE = "wsgi_enable_subinterpreters on;"
WHO = '''
try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters


def who():
    """The number of the interpreter; that of the main one is 0."""
    found = _interpreters.get_current()
    return int(found[0] if isinstance(found, tuple) else found)


NAME = os.path.basename(__file__)[:-3]
'''
# One script for each location; "main" runs in the main interpreter.
THREE = """
    location /one/ { wsgi_pass one.py; }
    location /two/ { wsgi_pass two.py; }
    location /main/ { wsgi_use_main_interpreter on; wsgi_pass main.py; }
"""
NAMES = ("one", "two", "main")


def three(nginx, text, server=THREE, http="", **more):
    """Three scripts with the same text: two in interpreters of their own, one in the main interpreter."""
    script = PRELUDE + WHO + textwrap.dedent(text)
    apps = {**{f"{name}.py": script for name in NAMES}, **more.pop("apps", {})}
    return nginx(server, http=ENABLE + http, apps=apps, **more)


def answers(server, target):
    """What each of the three answers, read as JSON."""
    found = []
    for name in NAMES:
        answer = server.get(f"/{name}/{target}")
        assert answer.status == 200, f"{answer}\n{server.tail()}"
        found.append(answer.json())
    return found
