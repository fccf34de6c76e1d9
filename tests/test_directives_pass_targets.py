"""wsgi_pass: every way to say which application."""

import os

import pytest

SCRIPT = """
def make(name):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [name.encode()]
    return app


class Site:
    inner = make("dotted")

    @classmethod
    def build(cls):
        return make("dotted factory")


application = make("application")
other = make("other")


def create_app():
    return make("factory")


class Callable:
    def __call__(self, environ, start_response):
        return make("instance")(environ, start_response)


instance = Callable()


class Iterable:
    def __init__(self, environ, start_response):
        self.parts = make("class")(environ, start_response)

    def __iter__(self):
        return iter(self.parts)
"""


def serve(nginx, folder, target):
    for name in ("app.py", "sub/app.py", "sub/script", "sub/app.wsgi", "with space/app.py", "ünïcode/äpp.py",
                 "modules/shop/__init__.py", "modules/shop/api.py", "my-app.py", "a:b.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SCRIPT)
    if not (folder / "link.py").exists():
        os.symlink("sub/app.py", folder / "link.py")
    server = nginx(f"wsgi_python_path modules; location / {{ wsgi_pass {target}; }}")
    answer = server.get("/")
    assert answer.status == 200, server.tail()
    return answer.text


@pytest.mark.parametrize("target, answer", [
    # a path
    ("%%FOLDER%%/app.py", "application"),
    ("%%FOLDER%%/sub/script", "application"),
    ("app.py", "application"),
    ("./app.py", "application"),
    ("sub/app.py", "application"),
    ("sub/../app.py", "application"),
    ("sub/script", "application"),
    ("sub/app.wsgi", "application"),
    ("my-app.py", "application"),
    ("link.py", "application"),
    ('"with space/app.py"', "application"),
    ("ünïcode/äpp.py", "application"),
    # a path and a callable
    ("app.py:other", "other"),
    ("app.py other", "other"),
    ("%%FOLDER%%/app.py:other", "other"),
    ("%%FOLDER%%/sub/script:other", "other"),
    ("%%FOLDER%%/sub/script other", "other"),
    ("app.py:create_app()", "factory"),
    ("app.py create_app()", "factory"),
    ("sub/script:create_app()", "factory"),
    ("app.py:Site.inner", "dotted"),
    ("app.py Site.inner", "dotted"),
    ("app.py:Site.build()", "dotted factory"),
    ("app.py:instance", "instance"),
    ("app.py:Callable()", "instance"),
    ("app.py:Iterable", "class"),
    # a module
    ("shop", "application"),
    ("shop.api", "application"),
    ("shop.api:other", "other"),
    ("shop.api other", "other"),
    ("shop.api:create_app()", "factory"),
    ("shop.api create_app()", "factory"),
    ("shop.api:Site.inner", "dotted"),
    ("shop:Site.build()", "dotted factory"),
])
def test_target(nginx, folder, target, answer):
    assert serve(nginx, folder, target) == answer
