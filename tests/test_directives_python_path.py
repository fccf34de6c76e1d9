"""wsgi_python_path: directories before sys.path, inner levels first."""

import json
import re

import pytest

from harness.conf import accepts, duplicate, not_allowed, refuses, wrong_count

APP = """
import json
import sys


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(sys.path).encode()]
"""


def sys_path(nginx, folder, **more):
    for name in ("one", "two", "three", "four"):
        (folder / name).mkdir()
    server = nginx(apps={"app.py": APP}, **more)
    answer = server.get("/")
    assert answer.status == 200, server.tail()
    return json.loads(answer.body)


def order(path, folder, *names):
    return [path.index(str(folder / name)) for name in names]


def test_several_directories_keep_their_order(nginx, folder):
    path = sys_path(nginx, folder, server="wsgi_python_path one %%FOLDER%%/two; location / { wsgi_pass app.py; }")
    one, two = order(path, folder, "one", "two")
    assert one < two
    library = next(number for number, entry in enumerate(path) if re.search(r"/python3\.\d+$", entry))
    assert two < library, "before the standard library"


def test_levels_add_up_inner_first(nginx, folder):
    path = sys_path(nginx, folder, http="wsgi_python_path one;", server="""
        wsgi_python_path two;
        location / { wsgi_python_path three four; wsgi_pass app.py; }
    """)
    three, four, two, one = order(path, folder, "three", "four", "two", "one")
    assert three < four < two < one


def test_inherited_by_nested_location(nginx, folder):
    path = sys_path(nginx, folder,
                    server="location / { wsgi_python_path two; location = / { wsgi_pass app.py; } }")
    assert str(folder / "two") in path


def test_twice_in_one_level_is_a_duplicate(nginx, folder):
    """Several directories of one level stand in one directive; that makes their order plain."""
    for name in ("one", "two"):
        (folder / name).mkdir()
    server = nginx("wsgi_python_path one;\nwsgi_python_path two;\n", start=False)
    refuses(server, "wsgi_python_path two;", duplicate("wsgi_python_path"))


def test_no_entry_twice(nginx, folder):
    path = sys_path(nginx, folder, http="wsgi_python_path one;", server="""
        wsgi_python_path one;
        location / { wsgi_python_path one; wsgi_pass app.py; }
        location /b { wsgi_python_path one; wsgi_pass app.py; }
    """)
    assert path.count(str(folder / "one")) == 1


def test_modules_are_found(nginx, folder):
    (folder / "lib").mkdir()
    (folder / "lib/helper.py").write_text("NAME = b'from lib'\n")
    server = nginx("wsgi_python_path lib; location / { wsgi_pass app.py; }", apps={"app.py": """
import helper
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [helper.NAME]
"""})
    assert server.get("/").body == b"from lib"


def test_script_directory_is_on_the_path(nginx, folder):
    """As with `python script.py`: what lies beside a script can be imported."""
    server = nginx("location / { wsgi_pass site/app.py; }", apps={"site/app.py": """
import neighbour
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [neighbour.NAME]
""", "site/neighbour.py": "NAME = b'beside'\n"})
    assert server.get("/").body == b"beside"


@pytest.mark.parametrize("level", ["http", "server", "location"])
def test_accepted_level(nginx, app, folder, level):
    app(APP)
    (folder / "one").mkdir()
    directive = "wsgi_python_path one;"
    location = "location / { %s wsgi_pass app.py; }" % (directive if level == "location" else "")
    accepts(nginx((directive if level == "server" else "") + location, http=directive if level == "http" else "",
                  start=False))


@pytest.mark.parametrize("directive, said", [
    ("wsgi_python_path;", re.escape(wrong_count("wsgi_python_path"))),
    ("wsgi_python_path nothing;", r'.*"%%FOLDER%%/nothing".*'),
    ("wsgi_python_path . %%FOLDER%%/nothing;", r'.*"%%FOLDER%%/nothing".*'),
    ("wsgi_python_path app.py;", r'.*"%%FOLDER%%/app\.py".*not a directory.*'),
    ('wsgi_python_path "";', r'.*"wsgi_python_path".*'),
])
def test_refused(nginx, app, directive, said):
    app("")
    server = nginx(f"\n{directive}\n", start=False)
    text = refuses(server, directive, re.compile(said.replace("%%FOLDER%%", re.escape(str(server.folder)))))
    assert '"wsgi_python_path"' in text


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: "wsgi_python_path %%FOLDER%%;"}), "wsgi_python_path",
            not_allowed("wsgi_python_path"))
