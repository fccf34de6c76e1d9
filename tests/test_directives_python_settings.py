"""wsgi_python_home, wsgi_python_executable, wsgi_python_optimize: values, contexts, conflicts."""

import json
import os
import re
import subprocess

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count
from harness.nginx import PYTHON

REPORT = """
'''A docstring.'''
import json
import sys


def asserts():
    try:
        assert False
    except AssertionError:
        return True
    return False


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"executable": sys.executable, "prefix": sys.prefix, "base_prefix": sys.base_prefix,
                        "optimize": sys.flags.optimize, "doc": __doc__, "asserts": asserts(),
                        "path": sys.path}).encode()]
"""

BASE = os.path.realpath(subprocess.run([PYTHON, "-c", "import sys; print(sys.base_prefix)"], capture_output=True,
                                       text=True, check=True).stdout.strip())
LEVELS = ["http", "server", "location"]
VALUES = {"wsgi_python_home": BASE, "wsgi_python_executable": PYTHON, "wsgi_python_optimize": "1"}


def parts(level, directive):
    """Configuration with `directive` at a level, and an application in a location."""
    return {
        "http": directive if level == "http" else "",
        "server": (directive if level == "server" else "")
        + "\n location / {\n" + (directive if level == "location" else "") + "\n wsgi_pass app.py;\n }",
    }


def make_venv(path):
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(path)], check=True, capture_output=True)
    return path


def report(server):
    answer = server.get("/")
    assert answer.status == 200, server.tail()
    return json.loads(answer.body)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("level", LEVELS)
def test_accepted_level(nginx, app, name, level):
    app(REPORT)
    accepts(nginx(start=False, **parts(level, f"{name} {VALUES[name]};")))


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("level", ["main", "events"])
def test_refused_level(nginx, name, level):
    refuses(nginx(start=False, **{level: f"{name} {VALUES[name]};"}), name, not_allowed(name))


@pytest.mark.parametrize("name", VALUES)
def test_argument_count(nginx, name):
    refuses(nginx(f"{name};", start=False), name, wrong_count(name))
    refuses(nginx(f"{name} {VALUES[name]} {VALUES[name]};", start=False), name, wrong_count(name))


@pytest.mark.parametrize("name", VALUES)
def test_duplicate(nginx, name):
    value = VALUES[name]
    server = nginx(f"{name} {value};\n{name} {value}; # again\n", start=False)
    refuses(server, "# again", duplicate(name))


@pytest.mark.parametrize("name", VALUES)
def test_same_value_at_two_levels(nginx, app, name):
    app(REPORT)
    value = VALUES[name]
    accepts(nginx(f"{name} {value}; location / {{ {name} {value}; wsgi_pass app.py; }}", http=f"{name} {value};",
                  start=False))


@pytest.mark.parametrize("name, one, two", [
    ("wsgi_python_home", "%%FOLDER%%/one", "%%FOLDER%%/two"),
    ("wsgi_python_executable", "%%FOLDER%%/one/python", "%%FOLDER%%/two/python"),
    ("wsgi_python_optimize", "0", "2"),
])
@pytest.mark.parametrize("levels", [("http", "server"), ("server", "location"), ("one server", "another server")])
def test_conflict_names_both_places(nginx, folder, app, name, one, two, levels):
    app(REPORT)
    for home in (folder / "one", folder / "two"):
        home.mkdir()
        os.symlink(PYTHON, home / "python")
    first, second = f"{name} {one}; # first", f"{name} {two}; # second"
    location = "\nlocation / {\nwsgi_pass app.py;\n}"
    if levels == ("http", "server"):
        server = nginx(f"\n{second}\n{location}", http=f"\n{first}\n", start=False)
    elif levels == ("server", "location"):
        server = nginx(f"\n{first}\nlocation / {{\n{second}\nwsgi_pass app.py;\n}}", start=False)
    else:
        server = nginx(f"\n{first}\n{location}",
                       servers=f"server {{ listen unix:%%FOLDER%%/x.sock;\n{second}\n{location} }}", start=False)
    accepted, output = server.test_config()
    assert not accepted
    (error,) = [line for line in output.splitlines() if "[emerg]" in line]
    lines = server.conf_path.read_text().splitlines()
    places = [next(number for number, line in enumerate(lines, 1) if mark in line) for mark in ("# first", "# second")]
    one, two = server.expand(one), server.expand(two)
    # Which of the two is met first is nginx's business; both must be named with their places.
    numbers = {int(n) for n in re.findall(re.escape(str(server.conf_path)) + r":(\d+)", error)}
    assert numbers == set(places), error
    assert name in error and one in error and two in error and "conflicts with" in error, error


@pytest.mark.parametrize("directive, said", [
    ("wsgi_python_home %%FOLDER%%/nothing;", r'"wsgi_python_home" "%%FOLDER%%/nothing" is not a directory'),
    ("wsgi_python_home nothing;", r'.*"%%FOLDER%%/nothing".*'),
    ("wsgi_python_home %%FOLDER%%/app.py;", r'.*"%%FOLDER%%/app\.py".*not a directory.*'),
    ('wsgi_python_home "";', r'.*"wsgi_python_home".*'),
    ("wsgi_python_executable %%FOLDER%%/nothing;",
     r'"wsgi_python_executable" "%%FOLDER%%/nothing" is not an executable file'),
    ("wsgi_python_executable %%FOLDER%%;", r'.*"%%FOLDER%%".*(directory|not executable|not an executable).*'),
    ("wsgi_python_executable %%FOLDER%%/app.py;", r'.*"%%FOLDER%%/app\.py".*not (an )?executable.*'),
    ('wsgi_python_executable "";', r'.*"wsgi_python_executable".*'),
    ("wsgi_python_optimize 3;", r'"wsgi_python_optimize" directive takes 0, 1 or 2'),
    ("wsgi_python_optimize -1;", r'"wsgi_python_optimize" directive takes 0, 1 or 2'),
    ("wsgi_python_optimize on;", r'"wsgi_python_optimize" directive takes 0, 1 or 2'),
    ("wsgi_python_optimize 1k;", r'"wsgi_python_optimize" directive takes 0, 1 or 2'),
    ("wsgi_python_optimize 01;", r'"wsgi_python_optimize" directive takes 0, 1 or 2'),
    ('wsgi_python_optimize "";', r'"wsgi_python_optimize" directive takes 0, 1 or 2'),
])
def test_refused_value(nginx, app, directive, said):
    app("")
    server = nginx(f"\n{directive}\n", start=False)
    name = directive.split()[0]
    text = refuses(server, directive, re.compile(re.sub(r"%%FOLDER%%", str(server.folder), said)))
    assert f'"{name}"' in text


@pytest.mark.parametrize("level, docstring", [("0", "A docstring."), ("1", "A docstring."), ("2", None)])
def test_optimize_takes_effect(nginx, app, level, docstring):
    app(REPORT)
    seen = report(nginx(f"location / {{ wsgi_pass app.py; wsgi_python_optimize {level}; }}"))
    assert seen["optimize"] == int(level)
    assert seen["doc"] == docstring
    assert seen["asserts"] is (level == "0")


def test_executable_of_a_virtual_environment(nginx, app, folder):
    app(REPORT)
    make_venv(folder / "venv")
    seen = report(nginx("wsgi_python_executable venv/bin/python; location / { wsgi_pass app.py; }"))
    assert seen["executable"] == str(folder / "venv/bin/python")
    assert os.path.realpath(seen["prefix"]) == str(folder / "venv")
    assert os.path.realpath(seen["base_prefix"]) == BASE
    assert any(entry.startswith(str(folder / "venv")) and entry.endswith("site-packages") for entry in seen["path"])


def test_home_of_a_virtual_environment(nginx, app, folder):
    app(REPORT)
    make_venv(folder / "venv")
    seen = report(nginx("wsgi_python_home venv; location / { wsgi_pass app.py; }"))
    assert os.path.realpath(seen["prefix"]) == str(folder / "venv")
    assert os.path.realpath(seen["base_prefix"]) == BASE
    assert seen["executable"].startswith(str(folder / "venv/bin/python"))


def test_home_of_an_installation(nginx, app):
    app(REPORT)
    seen = report(nginx(f"wsgi_python_home {BASE}; location / {{ wsgi_pass app.py; }}"))
    assert os.path.realpath(seen["prefix"]) == BASE


def test_home_and_executable_together(nginx, app, folder):
    """The executable says what Python believes to be, the home where its library is."""
    app(REPORT)
    make_venv(folder / "venv")
    seen = report(nginx("wsgi_python_home venv; wsgi_python_executable venv/bin/python; "
                        "location / { wsgi_pass app.py; }"))
    assert os.path.realpath(seen["prefix"]) == str(folder / "venv")


def test_home_without_a_library_leaves_the_worker_alive(nginx, app, folder):
    """Python cannot start from an empty folder: requests get 500, the log says why, the rest is served."""
    app(REPORT)
    (folder / "empty").mkdir()
    server = nginx("wsgi_python_home empty; location / { wsgi_pass app.py; } location /static { return 204; }")
    worker = server.worker
    assert server.get("/").status == 500
    assert server.get("/static").status == 204
    assert server.get("/").status == 500
    assert server.worker == worker
    server.wait_for_log(r"\[error\].*wsgi: .*(Python|python)")
    server.allow(r"\[(alert|crit|emerg)\].*wsgi: .*ython")


def test_a_python_that_cannot_start_is_said_once_and_tried_once(nginx, app, folder):
    app("def application(environ, start_response):\n    pass\n")
    (folder / "nothing").mkdir()
    server = nginx("location / { wsgi_pass app.py; } location /ok { return 200 ok; }",
                   http="wsgi_python_home %%FOLDER%%/nothing;")
    for _ in range(5):
        assert server.get("/").status == 500
    assert server.get("/ok").text == "ok"
    assert len(server.log_lines("cannot start Python: .*needs Python 3.*wsgi_python_home")) == 1
    assert len(server.log_lines("cannot run, its interpreter did not start")) == 5
