"""Sub-interpreters: what applications in one worker do not see of each other, and what they share."""

import pytest

from harness.apps import PRELUDE, notes, touch, wait_notes
from harness.interpreters import ENABLE, NAMES, THREE, answers, three
from harness.venv import frameworks

pytestmark = pytest.mark.once


def test_same_module_names_with_different_paths(nginx):
    server = three(nginx, """
        import helper
        import package.inner

        def at_names(environ, start_response):
            return answer(start_response, [helper.NAME, package.inner.NAME, sys.path])
        """, """
        location /one/ { wsgi_python_path lib1; wsgi_pass one.py; }
        location /two/ { wsgi_python_path lib2; wsgi_pass two.py; }
        location /main/ { wsgi_python_path lib3; wsgi_use_main_interpreter on; wsgi_pass main.py; }
        """, apps={f"lib{number}/{name}": f"NAME = '{name} of {number}'\n" for number in (1, 2, 3)
                   for name in ("helper.py", "package/__init__.py", "package/inner.py")})
    for number, (helper, inner, path) in enumerate(answers(server, "names"), 1):
        assert (helper, inner) == (f"helper.py of {number}", f"package/inner.py of {number}")
        assert [entry for entry in path if "/lib" in entry and str(server.folder) in entry] == [
            f"{server.folder}/lib{number}"]


def test_same_dotted_module_under_two_names(nginx):
    def module(text):
        return PRELUDE + f"def application(environ, start_response): return answer(start_response, b'{text}')\n"
    server = nginx("""
        location / { wsgi_interpreter a; wsgi_python_path lib1; wsgi_pass shop.wsgi; }
        location /two { wsgi_interpreter b; wsgi_python_path lib2; wsgi_pass shop.wsgi; }
    """, http=ENABLE, apps={"lib1/shop/wsgi.py": module("first"), "lib2/shop/wsgi.py": module("second")})
    assert (server.get("/").text, server.get("/two").text) == ("first", "second")


def test_two_versions_of_one_package(nginx):
    def package(version):
        return {"__init__.py": f"__version__ = '{version}'\nfrom .api import answer\n",
                "api.py": f"import sys\nclass Thing: pass\ndef answer(): return '{version}'\n"}
    server = three(nginx, """
        import pickle
        import things

        def at_version(environ, start_response):
            thing = pickle.loads(pickle.dumps(things.api.Thing()))
            assert type(thing) is things.api.Thing
            return answer(start_response, [things.__version__, things.answer()])
        """, """
        location /one/ { wsgi_python_path v1; wsgi_pass one.py; }
        location /two/ { wsgi_python_path v2; wsgi_pass two.py; }
        location /main/ { wsgi_python_path v3; wsgi_use_main_interpreter on; wsgi_pass main.py; }
        """, apps={f"v{version}/things/{name}": text for version in (1, 2, 3)
                   for name, text in package(f"{version}.0").items()})
    for _ in range(3):
        assert answers(server, "version") == [["1.0", "1.0"], ["2.0", "2.0"], ["3.0", "3.0"]]


# As `django-admin startproject` writes them.
DJANGO = {"wsgi.py": """
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{site}_settings")

application = get_wsgi_application()
""", "{site}_settings.py": """
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
USE_TZ = True
LANGUAGE_CODE = "{language}"
SITE = "{site}"
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [r"{folder}"]}}]
""", "urls.py": """
from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.translation import gettext


def index(request):
    return HttpResponse(f"{{settings.SITE}} {{gettext('Monday')}} {{reverse('{site}')}}")


def page(request):
    return render(request, "page.html")


urlpatterns = [path("", index), path("{site}", page, name="{site}")]
""", "page.html": "a page of {site}\n"}


@pytest.mark.slow
def test_two_django_projects_with_different_settings(nginx, folder):
    apps = {}
    for site, language in (("red", "de"), ("blue", "fr")):
        for name, text in DJANGO.items():
            apps[f"{site}/{name.format(site=site)}"] = text.format(site=site, language=language,
                                                                   folder=folder / site)
    server = nginx("location /red/ { wsgi_pass red/wsgi.py; } location /blue/ { wsgi_pass blue/wsgi.py; }",
                   http=f"{ENABLE} wsgi_python_executable {frameworks()}; wsgi_block_warning off;", apps=apps)
    for _ in range(3):
        assert server.get("/red/").text == "red Montag /red/red", server.tail()
        assert server.get("/blue/").text == "blue lundi /blue/blue"
        assert server.get("/red/red").text == "a page of red\n"
        assert server.get("/blue/blue").text == "a page of blue\n"
        assert server.get("/red/blue").status == 404


def test_a_variable_that_one_sets_is_not_the_default_of_the_next(nginx):
    """`os.environ` writes through to the process, of whose variables a new interpreter makes its own copy: all of
    them must be there before the first application runs."""
    server = three(nginx, """
    os.environ.setdefault("SETTINGS", NAME)

    def at_settings(environ, start_response):
        return answer(start_response, os.environ["SETTINGS"])
    """)
    assert answers(server, "settings") == list(NAMES)


# What an application changes for itself, and what shows whether it is changed.
STATE = {
    "sys.modules": ("import types; sys.modules['mine'] = types.ModuleType('mine')", "'mine' in sys.modules"),
    "sys.path": ("sys.path.append('/mine')", "'/mine' in sys.path"),
    "sys.attribute": ("sys.mine = 1", "hasattr(sys, 'mine')"),
    "os.environ": ("os.environ['MINE'] = '1'", "'MINE' in os.environ"),
    "builtins": ("import builtins; builtins.mine = 1", "'mine' in dir(__import__('builtins'))"),
    "logging": ("import logging; logging.getLogger().setLevel(7); logging.addLevelName(7, 'MINE')",
                "__import__('logging').getLogger().level == 7 or __import__('logging').getLevelName(7) == 'MINE'"),
    "decimal": ("import decimal; decimal.getcontext().prec = 7", "__import__('decimal').getcontext().prec == 7"),
    "warnings": ("import warnings; warnings.filterwarnings('error', 'mine')",
                 "any('mine' in str(each) for each in __import__('warnings').filters)"),
    "json": ("import json; json.mine = 1", "hasattr(__import__('json'), 'mine')"),
    "codecs": ("import codecs; codecs.register_error('mine', codecs.strict_errors)",
               "raised(__import__('codecs').lookup_error, 'mine') is None"),
    "hooks": ("sys.excepthook = None; sys.displayhook = None", "sys.excepthook is None"),
    "threading": ("import threading; threading.mine = 1", "hasattr(__import__('threading'), 'mine')"),
    "class": ("__import__('collections').OrderedDict; import fractions; fractions.Fraction.mine = 1",
              "hasattr(__import__('fractions').Fraction, 'mine')"),
}
SEEN = """
    def at_change(environ, start_response):
        exec(CHANGE, globals())
        return answer(start_response, eval(SEEN))

    def at_seen(environ, start_response):
        return answer(start_response, eval(SEEN))
    """


@pytest.mark.parametrize("kind", STATE)
@pytest.mark.parametrize("who", ["one", "main"])
def test_what_one_changes_the_others_do_not_see(nginx, kind, who):
    change, seen = STATE[kind]
    server = three(nginx, f"""
    CHANGE = {change!r}
    SEEN = {seen!r}
    """ + SEEN)
    assert answers(server, "seen") == [False, False, False]
    assert server.get(f"/{who}/change").json() is True
    expected = [name == who for name in NAMES]
    if kind == "decimal":
        # Each request has a context of its own, which ends with the request.
        expected = [False] * 3
    assert answers(server, "seen") == expected


def test_what_one_changes_at_import_the_others_do_not_see(nginx):
    changes = "; ".join(STATE[kind][0] for kind in ("sys.modules", "os.environ", "builtins", "logging", "warnings"))
    server = three(nginx, f"""
    SEEN = [{", ".join(STATE[kind][1] for kind in ("sys.modules", "os.environ", "builtins", "logging", "warnings"))}]
    if NAME == "one":
        {changes}

    def at_seen(environ, start_response):
        return answer(start_response, SEEN)

    def at_later(environ, start_response):
        return answer(start_response, "mine" in sys.modules)
    """)
    assert answers(server, "seen") == [[False] * 5] * 3
    assert answers(server, "later") == [True, False, False]


def test_contextvars(nginx):
    server = three(nginx, """
    import contextvars

    var = contextvars.ContextVar("var", default="unset")

    def at_stream(environ, start_response):
        start_response("200 OK", PLAIN)
        var.set(environ["QUERY_STRING"])
        yield var.get().encode() + b" "
        note("waiting", NAME)
        while not there("go"):
            yield b""
        yield var.get().encode()

    def at_get(environ, start_response):
        return answer(start_response, var.get())
    """)
    clients = []
    for name in NAMES:
        client = server.connect()
        client.send_request("GET", f"/{name}/stream?{name}")
        clients.append(client)
        wait_notes(server, f"waiting {name}")
    assert answers(server, "get") == ["unset"] * 3
    touch(server, "go")
    for name, client in zip(NAMES, clients):
        assert client.read_response().text == f"{name} {name}"


def test_modules_are_different_objects(nginx):
    server = three(nginx, """
    import json as module

    def at_ids(environ, start_response):
        return answer(start_response, [id(sys.modules), id(module), id(os.environ), id(sys.path), who()])
    """)
    first = answers(server, "ids")
    assert all(len(set(column)) == 3 for column in zip(*first))
    assert first[2][4] == 0
    assert answers(server, "ids") == first, "they live as long as the worker"


def test_two_locations_of_one_script_share_an_interpreter_and_the_module(nginx):
    server = three(nginx, """
    count = 0

    def at_count(environ, start_response):
        global count
        count += 1
        return answer(start_response, [count, who()])

    def other(environ, start_response):
        return at_count(environ, start_response)

    note("import", NAME)
    """, THREE + "location /again/ { wsgi_pass one.py; } location /other/ { wsgi_pass %%FOLDER%%/one.py:other; }")
    seen = [server.get(target).json() for target in ("/one/count", "/again/count", "/other/count", "/two/count")]
    assert [count for count, _ in seen] == [1, 2, 3, 1]
    assert len({number for _, number in seen[:3]}) == 1
    assert sorted(notes(server)) == ["import main", "import one", "import two"]


def test_applications_of_one_name_share_their_modules(nginx):
    server = three(nginx, """
    import shared

    def at_count(environ, start_response):
        shared.count += 1
        return answer(start_response, [shared.count, who(), id(sys.modules), sys.path])
    """, """
        location /one/ { wsgi_interpreter both; wsgi_python_path lib1; wsgi_pass one.py; }
        location /two/ { wsgi_interpreter both; wsgi_python_path lib2; wsgi_pass two.py; }
        location /main/ { wsgi_interpreter alone; wsgi_pass main.py; }
    """, apps={"shared.py": "count = 0\n", "lib1/empty.py": "", "lib2/empty.py": ""})
    one, two, alone = answers(server, "count")
    assert [one[0], two[0], alone[0]] == [1, 2, 1]
    assert one[1:] == two[1:]
    assert one[1] != alone[1] and one[2] != alone[2]
    for number in (1, 2):
        assert f"{server.folder}/lib{number}" in one[3]
        assert f"{server.folder}/lib{number}" not in alone[3]
