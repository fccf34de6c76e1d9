"""Sub-interpreters: applications in one worker that see nothing of each other, and work as in the main one."""

import re
import textwrap

import pytest

from harness.apps import PRELUDE, notes, serve, settled, touch, wait_notes
from harness.http import Truncated
from harness.nginx import wait_for
from test_examples import interpreter

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


# -- what does not mix ------------------------------------------------------------------------------------------------

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
                   http=f"{ENABLE} wsgi_python_executable {interpreter()}; wsgi_block_warning off;", apps=apps)
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


# -- what is shared ---------------------------------------------------------------------------------------------------

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


# -- life -------------------------------------------------------------------------------------------------------------

ATEXIT = """
    import atexit

    atexit.register(note, "ended", NAME, who())
    atexit.register(print, "printed at exit of", NAME)

    def at_who(environ, start_response):
        return answer(start_response, who())
    """


@pytest.mark.parametrize("end", ["QUIT", "TERM", "HUP"])
def test_atexit_runs_in_each(nginx, end):
    server = three(nginx, ATEXIT)
    expected = sorted(f"ended {name} {number}" for name, number in zip(NAMES, answers(server, "who")))
    assert len(set(expected)) == 3
    if end == "HUP":
        server.hup()
    else:
        server.stop(end)
    assert sorted(notes(server)) == expected
    for name in NAMES:
        assert server.log_lines(f"printed at exit of {name}")


def test_atexit_of_a_single_process(nginx):
    server = three(nginx, ATEXIT, master=False)
    expected = sorted(f"ended {name} {number}" for name, number in zip(NAMES, answers(server, "who")))
    server.stop()
    assert sorted(notes(server)) == expected


def test_atexit_that_raises_in_one(nginx):
    server = three(nginx, ATEXIT + """
    if NAME == "one":
        atexit.register(lambda: 1 / 0)
    """)
    server.stop()
    assert sorted(line.split()[1] for line in notes(server)) == sorted(NAMES)
    assert server.log_lines("ZeroDivisionError")


@pytest.mark.slow
@pytest.mark.parametrize("code", ["threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
                                  "threading.Thread(target=time.sleep, args=(3600,)).start()",
                                  "atexit.register(lambda: there('free') or time.sleep(3600))"])
def test_nothing_that_waits_in_one_hangs_the_end(nginx, code):
    server = three(nginx, f"""
    import atexit
    import threading

    {code}
    """)
    worker = server.worker
    server.hup(timeout=60)
    assert server.worker != worker
    touch(server, "free")


def test_a_worker_that_ends_while_clients_read(nginx):
    server = three(nginx, """
    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        return Body(*[b"x" * 100000] * 80, lambda: note("interpreter", NAME, who()) or b"", name=NAME)
    """)
    clients = []
    for name in NAMES:
        client = server.connect(rcvbuf=4096)
        client.send_request("GET", f"/{name}/big")
        client.read_head()
        clients.append(client)
    server.hup(wait_old=False)
    for client in clients:
        assert len(client.read_rest()) > 8_000_000
    wait_notes(server, "close", 3)
    assert sorted(notes(server, "close")) == sorted(f"close {name}" for name in NAMES)
    numbers = {line.split()[1]: int(line.split()[2]) for line in notes(server, "interpreter")}
    assert numbers["main"] == 0 and len(set(numbers.values())) == 3


def test_threads_run_while_nginx_waits(nginx):
    server = three(nginx, """
    import threading

    ticks = 0

    def tick():
        global ticks
        while True:
            ticks += 1
            if ticks == 50:
                note("ticking", NAME, who())
            time.sleep(0.002)

    threading.Thread(target=tick, daemon=True).start()

    def at_ticks(environ, start_response):
        return answer(start_response, [ticks, who()])
    """)
    wait_notes(server, "ticking", 3)  # without a single request
    before = answers(server, "ticks")
    wait_for(lambda: all(now[0] > then[0] + 20 for now, then in zip(answers(server, "ticks"), before)),
             "ticks between requests")
    assert sorted(notes(server)) == sorted(f"ticking {name} {number}" for name, (_, number) in zip(NAMES, before))


def test_threads_started_in_a_request(nginx):
    server = three(nginx, """
    import threading

    results = []

    def at_start(environ, start_response):
        thread = threading.Thread(target=lambda: results.append(who()))
        thread.start()
        thread.join()
        return answer(start_response, results == [who()])

    def at_pool(environ, start_response):
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(3) as pool:
            return answer(start_response, set(pool.map(lambda _: who(), range(9))) == {who()})
    """)
    assert answers(server, "start") == [True] * 3
    assert answers(server, "pool") == [True] * 3


def test_the_main_thread_of_each(nginx):
    server = three(nginx, """
    import threading

    def here():
        return [threading.current_thread() is threading.main_thread(), threading.active_count()]

    at_import = here()

    def at_here(environ, start_response):
        return answer(start_response, [at_import, here()])
    """)
    assert answers(server, "here") == [[[True, 1], [True, 1]]] * 3


def test_middleware_and_wsgi2_in_each(nginx):
    server = three(nginx, """
    def application(environ):
        return "200 OK", PLAIN, (block for block in (b"%d " % who(), b"%d" % id(sys.modules)))
    """, "wsgi_protocol wsgi2; wsgi_middleware wrapper.py;" + THREE, apps={"wrapper.py": PRELUDE + WHO + """
note("import", who())


def middleware(app):
    def wrapped(environ):
        status, headers, body = app(environ)
        return status, headers, [b"%d %d " % (who(), id(sys.modules)), *body]
    return wrapped
"""})
    seen = [server.get(f"/{name}/").text.split() for name in NAMES]
    assert all(words[:2] == words[2:] for words in seen)
    assert len({words[0] for words in seen}) == 3
    assert sorted(notes(server)) == sorted(f"import {words[0]}" for words in seen)


# -- output and errors ------------------------------------------------------------------------------------------------

def test_output_of_each_goes_to_the_error_log(nginx):
    server = three(nginx, """
    import logging
    import warnings

    logging.basicConfig(format="logged by %(message)s")
    print("imported", NAME)

    def at_speak(environ, start_response):
        print("stdout of", NAME)
        print("stderr of", NAME, file=sys.stderr)
        print("errors of", NAME, file=environ["wsgi.errors"])
        logging.error(NAME)
        warnings.warn("warned by " + NAME)
        return answer(start_response, None)
    """)
    answers(server, "speak")
    for name in NAMES:
        for text in ("imported", "stdout of", "stderr of", "logged by", "UserWarning: warned by"):
            assert len(server.wait_for_log(rf"wsgi: .*{text} {name}\b")) == 1, text
        assert f'request: "GET /{name}/speak HTTP/1.1"' in server.wait_for_log(f"errors of {name}")[0]


def test_exceptions_in_each(nginx):
    server = three(nginx, """
    class Mine(Exception):
        pass

    def at_raise(environ, start_response):
        raise Mine(NAME)

    def at_late(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"part"
        raise Mine("late " + NAME)

    def at_chain(environ, start_response):
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise Mine("chained " + NAME) from error

    def at_ok(environ, start_response):
        return answer(start_response, who())
    """)
    worker = server.worker
    for name in NAMES:
        assert server.get(f"/{name}/raise").status == 500
        assert server.get(f"/{name}/chain").status == 500
        with pytest.raises(Truncated):
            server.get(f"/{name}/late")
        app = re.escape(f'application "{server.folder}/{name}.py"')
        server.wait_for_log(rf"{app} raised (\S+\.)?Mine: {name}")
        server.wait_for_log(rf"{app} raised (\S+\.)?Mine: late {name} after the headers were sent")
        server.wait_for_log(rf'File "{server.folder}/{name}\.py", line \d+, in at_raise')
    assert len(set(answers(server, "ok"))) == 3
    assert server.worker == worker


def test_one_that_does_not_load_leaves_the_others(nginx):
    server = three(nginx, """
    if NAME == "one" and not there("mended"):
        raise ValueError("broken")

    def at_ok(environ, start_response):
        return answer(start_response, who())
    """)
    server.wait_for_log(r'cannot load application "\S+/one\.py": ValueError: broken')
    assert server.get("/one/ok").status == 500
    assert server.get("/two/ok").status == 200
    assert server.get("/main/ok").json() == 0
    touch(server, "mended")
    wait_for(lambda: server.get("/one/ok").status == 200, "the second attempt", 5)


def test_start_response_and_types_of_the_module(nginx):
    """exc_info, wrong calls and wrong blocks: exceptions are those of the interpreter that asks."""
    server = three(nginx, """
    def at_calls(environ, start_response):
        found = [refused(start_response, "20 OK", PLAIN), refused(start_response, b"200 OK", PLAIN),
                 raised(environ["wsgi.errors"].write, b"x"), raised(environ["wsgi.input"].read, "x")]
        return answer(start_response, found, again=True)

    def at_wrong(environ, start_response):
        start_response("200 OK", PLAIN)
        return ["text"]

    def at_input(environ, start_response):
        stream = environ["wsgi.input"]
        return answer(start_response, [stream.readline().decode(), stream.read(2).decode(), list(map(len, stream))])

    def at_file(environ, start_response):
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](open(__file__, "rb"), 100)
    """)
    assert answers(server, "calls") == [["ValueError", "TypeError", "TypeError", "TypeError"]] * 3
    for name in NAMES:
        assert server.get(f"/{name}/wrong").status == 500
        assert server.post(f"/{name}/input", b"first\nsecond\nthird\n").json() == ["first\n", "se", [5, 6]]
        assert server.get(f"/{name}/file").body == (server.folder / f"{name}.py").read_bytes()


# -- requests that interleave -----------------------------------------------------------------------------------------

def test_generators_of_slow_clients_take_turns(nginx):
    server = three(nginx, """
    import contextvars

    var = contextvars.ContextVar("var")

    def at_stream(environ, start_response):
        var.set((NAME, environ["QUERY_STRING"]))
        start_response("200 OK", PLAIN)
        def blocks():
            for number in range(200):
                assert var.get() == (NAME, environ["QUERY_STRING"])
                yield (b"%s %d %d %d;" % (NAME.encode(), who(), id(sys.modules), number)).ljust(20000)
        body = Body(name=f"{NAME} {who()}")
        body.items = blocks()
        return body

    def at_me(environ, start_response):
        return answer(start_response, [who(), id(sys.modules)])
    """)
    me = dict(zip(NAMES, answers(server, "me")))
    clients = []
    for number in range(2):
        for name in NAMES:
            client = server.connect(rcvbuf=4096)
            client.send_request("GET", f"/{name}/stream?{number}")
            clients.append((name, client))
    heads = [client.read_head() for _, client in clients]
    # A bit of each in turn; the kernel holds much less than a whole answer.
    for _ in range(100):
        for _, client in clients:
            assert client.fill(20000)
    for (name, client), head in zip(clients, heads):
        client.read_body(head)
        number, modules = me[name]
        expected = b"".join((b"%s %d %d %d;" % (name.encode(), number, modules, block)).ljust(20000)
                            for block in range(200))
        assert head.body == expected
    wait_notes(server, "close", 6)
    assert sorted(notes(server, "close")) == sorted(2 * [f"close {name} {me[name][0]}" for name in NAMES])


@pytest.mark.parametrize("h2c", [False, True])
def test_write_in_each(nginx, h2c):
    server = three(nginx, """
    def at_write(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for number in range(3):
            write(b"%d " % who() * 20000)
        return [b"end of ", NAME.encode()]

    def at_me(environ, start_response):
        return answer(start_response, who())
    """, h2c=h2c, http="wsgi_block_warning off;")
    for name, number in zip(NAMES, answers(server, "me")):
        target = f"/{name}/write"
        answer = server.h2().request("GET", target) if h2c else server.get(target)
        assert answer.body == b"%d " % number * 60000 + b"end of " + name.encode()


PAGES = """
    def at_page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        names = environ["QUERY_STRING"].split(",")
        yield b"<%s %d " % (NAME.encode(), who())
        for name in filter(None, names):
            yield b'<!--#include virtual="/%s" -->' % name.encode()
        yield b" %d %d>" % (who(), id(sys.modules) == MODULES)

    MODULES = id(sys.modules)

    def at_outer(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        yield b"<%s %d " % (NAME.encode(), who())
        yield b'<!--#include virtual="/two/inner" -->'
        yield b" %d>" % who()

    def at_inner(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return Body(b"<%s %d " % (NAME.encode(), who()), b'<!--#include virtual="/main/page" -->',
                    lambda: b" %d>" % who(), name=f"{NAME} {who()}")

    def at_me(environ, start_response):
        return answer(start_response, who())
    """


def test_one_page_of_several_interpreters(nginx):
    server = three(nginx, PAGES, "ssi on;" + THREE)
    one, two, main = answers(server, "me")
    for name, number in (("one", one), ("main", main)):
        assert server.get(f"/{name}/page?two/page,main/page,one/page").text == (
            f"<{name} {number} <two {two}  {two} 1><main 0  0 1><one {one}  {one} 1> {number} 1>")


def test_pages_nested_through_interpreters(nginx):
    server = three(nginx, PAGES, "ssi on;" + THREE)
    one, two, main = answers(server, "me")
    assert server.get("/one/outer").text == f"<one {one} <two {two} <main 0  0 1> {two}> {one}>"
    wait_notes(server, "close")
    assert notes(server) == ["end two %d" % two, "close two %d" % two]


def test_error_page_of_another_interpreter(nginx):
    server = three(nginx, """
    def at_fail(environ, start_response):
        raise ValueError(NAME)

    def at_sorry(environ, start_response):
        start_response("500 Sorry", [("Content-Type", "text/plain"), ("X-From", NAME)])
        return [f"sorry from {who()}".encode()]

    def at_me(environ, start_response):
        return answer(start_response, who())
    """, """
        location /one/ { wsgi_pass one.py; error_page 500 = /two/sorry; }
        location /two/ { wsgi_pass two.py; error_page 500 = /main/sorry; }
        location /main/ { wsgi_use_main_interpreter on; wsgi_pass main.py; error_page 500 = /one/sorry; }
    """)
    numbers = dict(zip(NAMES, answers(server, "me")))
    for failing, answering in (("one", "two"), ("two", "main"), ("main", "one")):
        answer = server.get(f"/{failing}/fail")
        assert (answer.header("X-From"), answer.text) == (answering, f"sorry from {numbers[answering]}")


def test_auth_request_by_another_interpreter(nginx):
    server = three(nginx, """
    def at_check(environ, start_response):
        start_response("204 OK" if environ.get("HTTP_X_PASS") else "403 No", [("X-By", str(who()))])
        return []

    def at_me(environ, start_response):
        return answer(start_response, [who(), environ.get("CHECKED")])
    """, """
        location /one/ { auth_request /two/check; auth_request_set $by $sent_http_x_by; wsgi_var CHECKED $by;
                         wsgi_pass one.py; }
        location /two/ { wsgi_pass two.py; }
    """)
    assert server.get("/one/me").status == 403
    two = server.get("/two/me").json()[0]
    one, checked = server.get("/one/me", [("X-Pass", "1")]).json()
    assert one != two and checked == str(two)


@pytest.mark.parametrize("how", ["reset", "HEAD", "fails", "send_timeout"])
def test_close_runs_in_the_interpreter_of_its_application(nginx, how):
    server = three(nginx, """
    class Noting:
        def __init__(self, blocks):
            self.blocks = blocks

        def __iter__(self):
            return self.blocks

        def close(self):
            self.blocks.close()
            note("close", NAME, who(), id(sys.modules))

    def at_big(environ, start_response):
        start_response("200 OK", PLAIN)
        def blocks():
            try:
                for number in range(80):
                    yield b"x" * 100000
                    if environ["QUERY_STRING"]:
                        raise ValueError
            finally:
                note("finally", NAME, who(), id(sys.modules))
        return Noting(blocks())

    def at_me(environ, start_response):
        return answer(start_response, [who(), id(sys.modules)])
    """, ("send_timeout 200ms;" if how == "send_timeout" else "") + THREE)
    expected = [f"{name} {number} {modules}" for name, (number, modules) in zip(NAMES, answers(server, "me"))]
    clients = []
    for name in NAMES:
        client = server.connect(rcvbuf=4096)
        query = "?fails" if how == "fails" else ""
        client.send_request("HEAD" if how == "HEAD" else "GET", f"/{name}/big{query}")
        if how != "send_timeout":
            client.read_head()
        clients.append(client)
    if how == "reset":
        assert settled(lambda: notes(server)) == []
        for client in clients:
            client.reset()
    wait_notes(server, "close", 3)
    answers(server, "me")
    assert sorted(notes(server, "close")) == sorted(f"close {each}" for each in expected)
    if how != "HEAD":
        assert sorted(notes(server, "finally")) == sorted(f"finally {each}" for each in expected)


def test_what_is_collected_late_dies_in_its_interpreter(nginx):
    """A cycle with a body in it, which the collector finds during a request to another application."""
    server = three(nginx, """
    import gc

    class Cycle:
        def __init__(self):
            self.me = self

        def __iter__(self):
            return iter([b"x"])

        def __del__(self):
            note("gone", NAME, who())

    def at_cycle(environ, start_response):
        gc.disable()
        start_response("200 OK", PLAIN)
        return Cycle()

    def at_collect(environ, start_response):
        gc.collect()
        return answer(start_response, who())
    """)
    for name in NAMES:
        assert server.get(f"/{name}/cycle").body == b"x"
    expected = [f"gone {name} {number}" for name, number in zip(NAMES, answers(server, "collect"))]
    assert notes(server) == expected


# -- the process they share -------------------------------------------------------------------------------------------

def test_signals_are_refused_in_each(nginx):
    server = three(nginx, """
    import signal

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: note("caught", NAME))

    def at_same(environ, start_response):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return answer(start_response, signal.getsignal(signal.SIGTERM) == before)
    """)
    assert answers(server, "same") == [True] * 3
    for name in NAMES:
        for number in ("SIGTERM", "SIGINT"):
            assert len(server.wait_for_log(rf"wsgi: signal\.signal\({number}\) is refused.*/{name}\.py:")) == 1
    server.stop("TERM")
    assert notes(server) == []


def test_subprocess_in_each(nginx):
    server = three(nginx, """
    import subprocess

    def at_run(environ, start_response):
        codes = [subprocess.run(["sh", "-c", f"exit {number}"]).returncode for number in range(5)]
        out = subprocess.check_output(["echo", NAME], text=True)
        return answer(start_response, [codes, out, subprocess.run("kill -9 $$", shell=True).returncode])
    """, http="wsgi_block_warning off;")
    assert answers(server, "run") == [[[0, 1, 2, 3, 4], f"{name}\n", -9] for name in NAMES]


def test_environment_of_the_configuration_is_seen_by_each(nginx):
    server = three(nginx, """
    at_import = os.environ.get("GREETING")

    def at_seen(environ, start_response):
        return answer(start_response, [at_import, os.environ.get("GREETING")])
    """, http="wsgi_env GREETING hello;")
    assert answers(server, "seen") == [["hello", "hello"]] * 3


def test_optimisation_and_executable_are_those_of_the_main_interpreter(nginx):
    server = three(nginx, """
    def at_flags(environ, start_response):
        return answer(start_response, [sys.flags.optimize, __debug__, sys.prefix, sys.executable, sys.argv])
    """, http="wsgi_python_optimize 1;")
    one, two, main = answers(server, "flags")
    assert one == two == main
    assert main[:2] == [1, False]


def test_libraries_work_in_each(nginx):
    """A handful of the library's modules with C parts, used by turns."""
    server = three(nginx, """
    import datetime
    import decimal
    import hashlib
    import re
    import socket
    import sqlite3
    import struct
    import zlib

    def at_use(environ, start_response):
        database = sqlite3.connect(":memory:")
        database.execute("create table t (a)")
        database.execute("insert into t values (?)", (NAME,))
        left, right = socket.socketpair()
        left.sendall(b"x")
        found = [database.execute("select a from t").fetchone()[0], hashlib.sha256(b"").hexdigest()[:4],
                 str(decimal.Decimal(1) / 3)[:5], zlib.decompress(zlib.compress(b"z")).decode(),
                 datetime.date(2000, 1, 1).isoformat(), re.sub("a+", "b", "aaa"), struct.pack("<H", 513)[0],
                 right.recv(1).decode(), json.loads('{"a": [1.5]}')["a"][0]]
        left.close()
        right.close()
        return answer(start_response, found)
    """)
    for _ in range(3):
        assert answers(server, "use") == [
            [name, "e3b0", "0.333", "z", "2000-01-01", "b", 1, "x", 1.5] for name in NAMES]


def test_asyncio_runs_in_each(nginx):
    server = three(nginx, """
    import asyncio

    async def main():
        first, second = await asyncio.gather(asyncio.sleep(0.001, "a"), asyncio.to_thread(who))
        return first, second == who()

    def at_run(environ, start_response):
        return answer(start_response, asyncio.run(main()))
    """, http="wsgi_block_warning off;")
    for _ in range(3):
        assert answers(server, "run") == [["a", True]] * 3


def test_many_interpreters_in_several_workers(nginx):
    count = 10
    script = PRELUDE + WHO + textwrap.dedent("""
    def application(environ, start_response):
        return answer(start_response, [NAME, who(), os.getpid()])
    """)
    server = nginx("\n".join(f"location /{n}/ {{ wsgi_pass app{n}.py; }}" for n in range(count)), http=ENABLE,
                   apps={f"app{n}.py": script for n in range(count)}, workers=2)
    for _ in range(3):
        seen = {}
        for number in range(count):
            name, who, pid = server.get(f"/{number}/").json()
            assert name == f"app{number}" and who != 0
            assert seen.setdefault((pid, who), name) == name
    old = server.workers()
    server.hup()
    assert server.get("/3/").json()[2] not in old


def test_a_block_warning_names_the_application(nginx):
    server = three(nginx, """
    def at_slow(environ, start_response):
        time.sleep(0.05)
        return answer(start_response, who())
    """, http="wsgi_block_warning 20ms;")
    answers(server, "slow")
    for name in NAMES:
        assert len(server.wait_for_log(rf'application "\S+/{name}\.py" held the event loop')) == 1


def test_no_sub_interpreter_is_made_where_none_is_wanted(nginx):
    server = serve(nginx, WHO + """
def at_count(environ, start_response):
    return answer(start_response, len(_interpreters.list_all()))
    """)
    assert server.get("/count").json() == 1


def test_asyncio_works_in_each(nginx):
    """Timeouts, and a loop in a thread beside that of a request."""
    server = three(nginx, """
        import asyncio
        import threading

        background = asyncio.new_event_loop()
        threading.Thread(target=background.run_forever, daemon=True).start()

        async def expire():
            try:
                await asyncio.wait_for(asyncio.sleep(20), 0.05)
            except asyncio.TimeoutError:
                return "expired"

        def at_both(environ, start_response):
            elsewhere = asyncio.run_coroutine_threadsafe(expire(), background)
            return answer(start_response, [asyncio.run(expire()), elsewhere.result(20)])
        """, http="wsgi_block_warning off;")
    for _ in range(3):
        assert answers(server, "both") == [["expired", "expired"]] * 3


def test_import_errors_that_speak_of_interpreters_are_no_refusals(nginx, folder):
    """In the main interpreter and in a sub-interpreter: the usual message, its traceback, and another attempt."""
    server = three(nginx, """
        import code_interpreter

        def at_ready(environ, start_response):
            return answer(start_response, True)
        """)
    for name in NAMES:
        (line,) = server.log_lines(rf'cannot load application "\S+/{name}\.py"')
        assert line.endswith(": ModuleNotFoundError: No module named 'code_interpreter'")
    assert len(server.log_lines("wsgi:     import code_interpreter")) == 3
    (folder / "code_interpreter.py").write_text("")
    for name in NAMES:
        wait_for(lambda name=name: server.get(f"/{name}/ready").status == 200, server.tail)
