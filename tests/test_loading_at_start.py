"""Applications are imported when a worker starts, before any request."""

import json

from harness.nginx import wait_for

APP = """
import os

with open(os.path.join(os.path.dirname(__file__), "imported"), "a") as file:
    file.write(f"{os.getpid()} {__name__}\\n")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"application"]


def other(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"other"]


def create_app():
    print("factory called")
    return application
"""


def imports(folder):
    path = folder / "imported"
    return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


def test_before_the_first_request_in_every_worker(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, workers=3)
    assert sorted(imports(folder)) == server.workers()


def test_again_in_new_workers(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    first = server.worker
    (folder / "app.py").write_text(APP.replace('b"application"', 'b"changed"'))
    assert server.get("/").text == "application", "a running worker keeps what it has imported"
    server.hup()
    assert imports(folder) == [first, server.worker]
    assert server.get("/").text == "changed"


def test_same_script_in_two_places_is_imported_once(nginx, folder):
    server = nginx("""
        location / { wsgi_pass app.py; }
        location /again { wsgi_pass %%FOLDER%%/app.py; }
        location /other { wsgi_pass app.py:other; }
        location ~ \\.rx$ { wsgi_pass app.py other; }
    """, apps={"app.py": APP}, servers="server { listen unix:%%FOLDER%%/b.sock; location / { wsgi_pass app.py; } }")
    assert imports(folder) == [server.worker]
    assert [server.get(target).text for target in ("/", "/again", "/other", "/x.rx")] == [
        "application", "application", "other", "other"]


def test_factory_is_called_once_per_worker(nginx, folder):
    server = nginx("""
        location / { wsgi_pass app.py:create_app(); }
        location /again { wsgi_pass app.py create_app(); }
    """, apps={"app.py": APP})
    assert server.get("/").text == "application"
    assert server.get("/again").text == "application"
    assert server.get("/").text == "application"
    assert len(server.log_lines("factory called")) == 1
    assert imports(folder) == [server.worker]


def test_scripts_of_the_same_name(nginx):
    def text(name):
        return f"""
NAME = b"{name}"

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [NAME]
"""
    server = nginx("location /one { wsgi_pass one/app.py; } location /two { wsgi_pass two/app.py; }",
                   apps={"one/app.py": text("one"), "two/app.py": text("two")})
    assert server.get("/one").text == "one"
    assert server.get("/two").text == "two"


def test_names_of_a_script(nginx, folder):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import json
import pickle
import sys


class Thing:
    pass


def application(environ, start_response):
    pickle.loads(pickle.dumps(Thing()))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"name": __name__, "file": __file__, "module": sys.modules[__name__].__file__}).encode()]
"""})
    seen = server.get("/").json()
    assert seen["file"] == seen["module"] == str(folder / "app.py")
    assert seen["name"] != "__main__"


def test_script_named_as_a_module_of_the_library(nginx):
    """A script called json.py must not stand in the way of the real one where nobody imports it by name."""
    server = nginx("location / { wsgi_pass ./types.wsgi; }", apps={"types.wsgi": """
import json
import types

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [json.dumps(isinstance(types, types.ModuleType)).encode()]
"""})
    assert server.get("/").text == "true"


def test_source_encoding(nginx, folder):
    (folder / "latin.py").write_bytes("""# -*- coding: latin-1 -*-
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["grün".encode("utf-8")]
""".encode("latin-1"))
    (folder / "bom.py").write_bytes(b"\xef\xbb\xbf" + """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["grün".encode("utf-8")]
""".replace("\n", "\r\n").encode())
    server = nginx("location / { wsgi_pass latin.py; } location /bom { wsgi_pass bom.py; }")
    assert server.get("/").text == "grün"
    assert server.get("/bom").text == "grün"


def test_package_with_relative_imports(nginx):
    server = nginx("wsgi_python_path lib; location / { wsgi_pass shop.web.views; }", apps={
        "lib/shop/__init__.py": "", "lib/shop/names.py": "NAME = b'relative'", "lib/shop/web/__init__.py": "",
        "lib/shop/web/views.py": """
from ..names import NAME

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [NAME]
"""})
    assert server.get("/").text == "relative"


def test_many_applications_in_one_worker(nginx):
    count = 20
    server = nginx("\n".join(f"location /{n}/ {{ wsgi_pass apps/{n}.py; }}" for n in range(count)), apps={
        f"apps/{n}.py": f"""
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{n}"]
""" for n in range(count)})
    with server.connect() as client:
        for n in range(count):
            assert client.request("GET", f"/{n}/").text == str(n)


def test_slow_import_is_waited_for(nginx, folder):
    """Requests that arrive while a worker still imports are answered by the application, not by an error."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": "import time\ntime.sleep(0.5)\n" + APP},
                   start=False)
    server.start()
    assert server.get("/").text == "application"
    server.hup(wait_old=False)
    assert server.get("/").text == "application"
    wait_for(lambda: len(imports(folder)) == 2, "the second import")


def test_environ_of_import(nginx):
    """At import there is no request; __builtins__, __spec__ and friends are those of a module."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import json
SEEN = {"spec": __spec__ is not None, "doc": __doc__, "loader": __loader__ is not None, "package": __package__}

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(SEEN).encode()]
"""})
    assert json.loads(server.get("/").body) == {"spec": True, "doc": None, "loader": True, "package": ""}
