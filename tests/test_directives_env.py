"""wsgi_env: os.environ, complete before the first import."""

import re

import pytest

from harness.conf import accepts, not_allowed, refuses, wrong_count

APP = """
import json
import os
import subprocess

AT_IMPORT = dict(os.environ)


def application(environ, start_response):
    child = subprocess.run(["/usr/bin/env"], capture_output=True, text=True).stdout.splitlines()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"import": AT_IMPORT, "now": dict(os.environ), "child": child,
                        "environ": sorted(environ)}).encode()]
"""


def test_seen_at_import_and_by_children(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, http="""
        wsgi_env DJANGO_SETTINGS_MODULE site.settings;
        wsgi_env GREETING "hello, world = %s";
        wsgi_env EMPTY "";
        wsgi_env UMLAUT grün;
    """)
    seen = server.get("/").json()
    for key, value in {"DJANGO_SETTINGS_MODULE": "site.settings", "GREETING": "hello, world = %s", "EMPTY": "",
                       "UMLAUT": "grün"}.items():
        assert seen["import"].get(key) == value
        assert seen["now"].get(key) == value
        assert f"{key}={value}" in seen["child"]
        assert key not in seen["environ"]


def test_wins_over_the_inherited_environment(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, main="env COLOUR; env SHAPE;",
                   env={"COLOUR": "from outside", "SHAPE": "round"}, http="wsgi_env COLOUR configured;")
    seen = server.get("/").json()["now"]
    assert seen["COLOUR"] == "configured"
    assert seen["SHAPE"] == "round"


def test_no_other_variable_of_the_caller(nginx):
    """nginx clears its workers' environment; what was not asked for is not there."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, env={"SECRET": "x"})
    seen = server.get("/").json()
    assert "SECRET" not in seen["now"]
    assert not [key for key in seen["environ"] if key in seen["now"]], "no key of the process in the WSGI environ"


def test_reload_forgets(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, http="wsgi_env ONE 1; wsgi_env TWO 2;")
    assert server.get("/").json()["now"]["ONE"] == "1"
    server.hup(http="wsgi_env TWO 22;")
    seen = server.get("/").json()["now"]
    assert "ONE" not in seen
    assert seen["TWO"] == "22"


def test_case_and_underscore(nginx):
    accepts(nginx(http="wsgi_env name 1; wsgi_env NAME 2; wsgi_env _x.y-z 3;", start=False))


@pytest.mark.parametrize("directive, said", [
    ("wsgi_env;", re.escape(wrong_count("wsgi_env"))),
    ("wsgi_env NAME;", re.escape(wrong_count("wsgi_env"))),
    ("wsgi_env NAME a b;", re.escape(wrong_count("wsgi_env"))),
    ('wsgi_env "" value;', r'.*"wsgi_env".*'),
    ("wsgi_env A=B value;", r'.*"A=B".*"wsgi_env".*'),
])
def test_refused(nginx, directive, said):
    refuses(nginx(http=f"\n{directive}\n", start=False), directive, re.compile(said))


def test_duplicate_name(nginx):
    server = nginx(http="wsgi_env NAME one;\nwsgi_env NAME two;\n", start=False)
    assert "NAME" in refuses(server, "wsgi_env NAME two;", re.compile(r".*NAME.*"))


@pytest.mark.parametrize("place", ["main", "events", "server"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: "wsgi_env NAME value;"}), "wsgi_env NAME", not_allowed("wsgi_env"))


def test_refused_in_location(nginx):
    refuses(nginx("location / { wsgi_env NAME value; }", start=False), "wsgi_env NAME", not_allowed("wsgi_env"))
