"""wsgi_middleware: what is put around an application, in the order of the request."""

import re
import time

import pytest

from harness.apps import PRELUDE, notes, serve
from harness.conf import accepts, not_allowed, refuses, wrong_count
from harness.nginx import wait_for

pytestmark = pytest.mark.once

NAME = "wsgi_middleware"
# Each callable adds its name to environ["order"], which the application answers.
MARKS = '''
import os

HERE = os.path.dirname(os.path.abspath(__file__))


def note(*words):
    with open(os.path.join(HERE, "notes"), "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


note("import marks")


def marking(name):
    def factory(app):
        note("wrap", name)

        def marked(environ, start_response):
            environ["order"] = [*environ.get("order", ()), name]
            return app(environ, start_response)
        return marked
    return factory


class shelf:
    nested = staticmethod(marking("nested"))


one, two, three, middleware = map(marking, ("one", "two", "three", "middleware"))


def nothing(app):
    pass


def number(app):
    return 42


def broken(app):
    raise ValueError("cannot wrap")
'''
APP = PRELUDE + '''
note("import app")


def application(environ, start_response):
    return answer(start_response, " ".join(environ.get("order", ())).encode())


def create_app():
    note("factory")
    return application
'''
APPS = {"app.py": APP, "marks.py": MARKS}
HTTP = "wsgi_python_path %%FOLDER%%;"


def site(nginx, server, http="", **more):
    return nginx(server, http=HTTP + http, apps={**APPS, **more.pop("apps", {})}, **more)


def order(server, target="/"):
    answer = server.get(target)
    assert answer.status == 200, f"{answer}\n{server.tail()}"
    return answer.text.split()


def location(directives):
    return "location / { %s wsgi_pass app.py; }" % directives


@pytest.mark.parametrize("directive, name", [
    ("wsgi_middleware marks;", "middleware"),
    ("wsgi_middleware marks one;", "one"),
    ("wsgi_middleware marks:one;", "one"),
    ("wsgi_middleware marks shelf.nested;", "nested"),
    ("wsgi_middleware marks.py;", "middleware"),
    ("wsgi_middleware marks.py two;", "two"),
    ("wsgi_middleware %%FOLDER%%/marks.py:two;", "two"),
])
def test_ways_to_name_it(nginx, directive, name):
    assert order(site(nginx, location(directive))) == [name]


def test_order_of_declaration_is_the_order_of_the_request(nginx):
    server = site(nginx, location("wsgi_middleware marks one; wsgi_middleware marks two; wsgi_middleware marks three;"))
    assert order(server) == ["one", "two", "three"]


def test_outer_levels_come_first(nginx):
    server = site(nginx, "wsgi_middleware marks two; "
                  + location("wsgi_middleware marks three; wsgi_middleware marks;")
                  + "location /other/ { wsgi_pass app.py; }"
                  + "location /nested/ { wsgi_middleware marks three; location /nested/in/ { wsgi_pass app.py; } }",
                  http="wsgi_middleware marks one;")
    assert order(server) == ["one", "two", "three", "middleware"]
    assert order(server, "/other/") == ["one", "two"]
    assert order(server, "/nested/in/") == ["one", "two", "three"]


def test_outer_levels_come_first_wherever_they_are_written(nginx):
    server = site(nginx, location("wsgi_middleware marks two;") + "wsgi_middleware marks one;")
    assert order(server) == ["one", "two"]


def test_off_clears_what_is_inherited(nginx):
    server = site(nginx, """
        wsgi_middleware marks two;
        location / { wsgi_middleware off; wsgi_pass app.py; }
        location /anew/ { wsgi_middleware off; wsgi_middleware marks three; wsgi_pass app.py; }
        location /nested/ { wsgi_middleware off; location /nested/in/ { wsgi_middleware marks; wsgi_pass app.py; } }
        location /kept/ { wsgi_pass app.py; }
    """, http="wsgi_middleware marks one;")
    assert order(server) == []
    assert order(server, "/anew/") == ["three"]
    assert order(server, "/nested/in/") == ["middleware"]
    assert order(server, "/kept/") == ["one", "two"]


def test_off_where_nothing_is_inherited(nginx):
    assert order(site(nginx, location("wsgi_middleware off;"))) == []


def test_if_and_limit_except_inherit(nginx):
    server = site(nginx, """
        location / {
            wsgi_middleware marks one;
            wsgi_pass app.py;
            if ($arg_x) { add_header X-If yes; }
            limit_except GET { wsgi_pass app.py:create_app(); }
        }
    """)
    assert order(server, "/?x=1") == ["one"]
    assert server.post("/").text == "one"


def test_the_same_middleware_on_two_levels_runs_twice(nginx):
    server = site(nginx, location("wsgi_middleware marks one;"), http="wsgi_middleware marks one;")
    assert order(server) == ["one", "one"]


def test_one_application_with_and_without(nginx):
    server = site(nginx, """
        location / { wsgi_pass app.py; }
        location /with/ { wsgi_middleware marks one; wsgi_pass app.py; }
        location /again/ { wsgi_middleware marks one; wsgi_pass app.py; }
    """)
    assert [order(server, target) for target in ("/", "/with/", "/again/")] == [[], ["one"], ["one"]]
    assert notes(server, "import") == ["import app", "import marks"]
    assert notes(server, "wrap") == ["wrap one"], "the same list is the same application"


def test_a_factory_is_called_once_whatever_is_put_around(nginx):
    server = site(nginx, """
        location / { wsgi_pass app.py:create_app(); }
        location /with/ { wsgi_middleware marks one; wsgi_pass app.py:create_app(); }
        location /again/ { wsgi_middleware marks one; wsgi_pass app.py create_app(); }
    """)
    assert [order(server, target) for target in ("/", "/with/", "/again/")] == [[], ["one"], ["one"]]
    assert notes(server, "factory") == ["factory"]
    assert notes(server, "wrap") == ["wrap one"]


def test_a_directory_that_only_the_location_knows(nginx):
    server = nginx("location / { wsgi_python_path lib; wsgi_middleware marks one; wsgi_pass app.py; }",
                   apps={"app.py": APP, "lib/marks.py": MARKS})
    assert order(server) == ["one"]


REAL = """
    def at_text(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("X-Seen", environ["REQUEST_METHOD"])])
        return [b"text ", environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))]

    def at_generator(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        for number in range(3):
            yield b"%d " % number

    def at_write(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written ")
        return [b"returned"]

    def at_empty(environ, start_response):
        start_response("204 No Content", [])
        return Body()

    def at_errors(environ, start_response):
        environ["wsgi.errors"].write("into the log\\n")
        environ["wsgi.errors"].flush()
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return Body(b"not found")

    def at_wrong(environ, start_response):
        start_response("200 OK", [])
        return [b"no content type"]
    """
VALIDATED = "location / { wsgi_middleware wsgiref.validate validator; wsgi_pass app.py; }"


def test_the_validator_of_the_library_is_content(nginx):
    server = serve(nginx, REAL, VALIDATED)
    with server.connect() as client:
        assert client.request("GET", "/text?a=%20b").text == "text "
        assert client.request("POST", "/text", [("Cookie", "a=b")], b"body").text == "text body"
        assert client.request("POST", "/text", [], b"chunks", chunked=True).text == "text chunks"
        assert client.request("HEAD", "/text").header("X-Seen") == "HEAD"
        assert client.request("GET", "/generator").text == "0 1 2 "
        assert client.request("GET", "/write").text == "written returned"
        assert client.request("GET", "/empty").status == 204
        answer = client.request("GET", "/errors")
        assert (answer.status, answer.text) == (404, "not found")
    assert server.wait_for_log("into the log")
    assert not server.log_lines("Traceback|AssertionError|WSGIWarning")


def test_the_validator_of_the_library_complains(nginx):
    """The exception comes out of the middleware, whose application is meant."""
    server = serve(nginx, REAL, VALIDATED)
    assert server.get("/wrong").status == 500
    server.wait_for_log(r'\[error\].*application "\S+/app\.py" raised AssertionError')


CANNOT = r'\[error\].*wsgi: cannot load middleware "{}" of application "{}": '


@pytest.mark.parametrize("directive, shown, error", [
    ("wsgi_middleware missing_package;", "missing_package", "ModuleNotFoundError: No module named 'missing_package'"),
    ("wsgi_middleware paste.lint;", r"paste\.lint", "ModuleNotFoundError: No module named 'paste'"),
    ("wsgi_middleware wsgiref.validate:checker;", r"wsgiref\.validate:checker", "AttributeError: .*checker"),
    ("wsgi_middleware wsgiref.validate;", r"wsgiref\.validate", "AttributeError: .*middleware"),
    ("wsgi_middleware marks broken;", "marks:broken", "ValueError: cannot wrap"),
    ("wsgi_middleware bad.py;", r"\S+/bad\.py", "ZeroDivisionError: division by zero"),
    ("wsgi_middleware marks nothing;", "marks:nothing",
     'TypeError: "nothing" in marks.* returned None, not a callable'),
    ("wsgi_middleware marks number;", "marks:number", 'TypeError: "number" in marks.* returned .*, not a callable'),
    ("wsgi_middleware marks HERE;", "marks:HERE", "TypeError: .*HERE"),
])
def test_a_failing_middleware_is_named(nginx, directive, shown, error):
    server = site(nginx, "location / { wsgi_pass app.py; } location /bad/ { %s wsgi_pass app.py; }" % directive,
                  apps={"bad.py": "1 / 0\n"})
    app = re.escape(f"{server.folder}/app.py")
    (line,) = server.wait_for_log(CANNOT.format(shown, app))
    assert re.search(CANNOT.format(shown, app) + error, line), line
    assert server.get("/bad/").status == 500
    server.wait_for_log(r'wsgi: application "\S+" is not loaded')
    assert order(server) == [], "the same application without it works"


def test_the_traceback_of_a_failing_middleware(nginx):
    server = site(nginx, location("wsgi_middleware marks broken;"))
    server.wait_for_log("wsgi: Traceback")
    server.wait_for_log(r'File ".*/marks\.py", line \d+, in broken')
    server.wait_for_log("wsgi: ValueError: cannot wrap")


def test_a_failing_one_among_good_ones_is_named(nginx):
    server = site(nginx, location(" ".join(f"wsgi_middleware marks {name};" for name in ("one", "broken", "two"))))
    assert server.get("/").status == 500
    assert server.log_lines(CANNOT.format("marks:broken", r"\S+"))
    assert not server.log_lines(CANNOT.format("marks:(one|two)", r"\S+"))


def test_a_failing_application_is_not_blamed_on_its_middleware(nginx):
    server = site(nginx, location("wsgi_middleware marks one;"), apps={"app.py": "1 / 0\n"})
    assert server.get("/").status == 500
    assert server.wait_for_log(r'wsgi: cannot load application "\S+/app\.py": ZeroDivisionError')
    assert not server.log_lines("cannot load middleware")


def test_it_recovers_when_the_module_appears(nginx, folder):
    server = site(nginx, location("wsgi_middleware late one;"))
    assert server.get("/").status == 500
    (folder / "late.py").write_text(MARKS)
    wait_for(lambda: server.get("/").status == 200, "the second attempt", 5)
    assert order(server) == ["one"]


def test_it_recovers_when_its_script_is_mended(nginx, folder):
    server = site(nginx, location("wsgi_middleware wrapper.py one;"), apps={"wrapper.py": "1 / 0\n"})
    assert server.get("/").status == 500
    (folder / "wrapper.py").write_text(MARKS)
    wait_for(lambda: server.get("/").status == 200, "the second attempt", 5)
    assert order(server) == ["one"]


def test_the_same_failure_again_is_not_said_again(nginx):
    server = site(nginx, location("wsgi_middleware missing_package;"))
    start = time.monotonic()
    while time.monotonic() < start + 1.5:
        assert server.get("/").status == 500
    assert len(server.log_lines(CANNOT.format("missing_package", r"\S+"))) == 1


def test_after_a_reload_another_list(nginx):
    server = site(nginx, location("wsgi_middleware marks one;"))
    assert order(server) == ["one"]
    server.hup(server=location("wsgi_middleware marks two;"))
    assert order(server) == ["two"]


@pytest.mark.parametrize("level", ["http", "server", "location"])
@pytest.mark.parametrize("directive", ["wsgi_middleware wsgiref.validate validator;", "wsgi_middleware off;"])
def test_accepted_level(nginx, app, level, directive):
    app("")
    accepts(nginx((directive if level == "server" else "") + location(directive if level == "location" else ""),
                  http=directive if level == "http" else "", start=False))


def test_a_location_without_application_needs_none(nginx):
    server = nginx("location / { return 200 static; }", http="wsgi_middleware missing_package;")
    assert server.get("/").text == "static"
    assert not server.log_lines("missing_package")


@pytest.mark.parametrize("place", ["main", "events"])
def test_refused_level(nginx, place):
    refuses(nginx(start=False, **{place: "wsgi_middleware a;"}), NAME, not_allowed(NAME))


@pytest.mark.parametrize("directive, said", [
    ("wsgi_middleware;", wrong_count(NAME)),
    ("wsgi_middleware a b c;", wrong_count(NAME)),
    ("wsgi_middleware a-b;", 'invalid module name "a-b" in "wsgi_middleware"'),
    ("wsgi_middleware a..b;", 'invalid module name "a..b" in "wsgi_middleware"'),
    ('wsgi_middleware "";', 'invalid module name "" in "wsgi_middleware"'),
    ("wsgi_middleware a 1b;", 'invalid callable "1b" in "wsgi_middleware"'),
    ("wsgi_middleware a:1b;", 'invalid callable "1b" in "wsgi_middleware"'),
    ('wsgi_middleware a "";', 'invalid callable "" in "wsgi_middleware"'),
    ("wsgi_middleware a:b c;", 'the callable of "wsgi_middleware" is given twice'),
    ("wsgi_middleware a:make();", '"wsgi_middleware" takes no factory "make()"'),
    ("wsgi_middleware a make();", '"wsgi_middleware" takes no factory "make()"'),
    ("wsgi_middleware nothing.py;", 'script "%%FOLDER%%/nothing.py" of "wsgi_middleware" does not exist'),
    ("wsgi_middleware ./nothing:wrap;", re.compile(r'script ".*/nothing" of "wsgi_middleware" does not exist')),
    ("wsgi_middleware $arg_name;", '"wsgi_middleware" takes no variables'),
    ("wsgi_middleware lib/$arg_name.py;", '"wsgi_middleware" takes no variables'),
])
def test_refused(nginx, directive, said):
    refuses(nginx(f"\n{directive}\n", start=False), directive, said)


@pytest.mark.parametrize("directive", ["wsgi_middleware off wrap;", "wsgi_middleware off make();"])
def test_off_takes_no_callable(nginx, directive):
    said = refuses(nginx(f"\n{directive}\n", start=False), directive, re.compile(".*"))
    assert '"wsgi_middleware' in said


@pytest.mark.parametrize("before", ["wsgi_middleware off;", "wsgi_middleware a;",
                                    "wsgi_middleware off;\nwsgi_middleware a;"])
def test_off_stands_first(nginx, before):
    text = f"{before}\nwsgi_middleware  off;\n"
    refuses(nginx("\n" + text, start=False), "wsgi_middleware  off;", '"wsgi_middleware off" must come first')


def test_off_on_two_levels_is_fine(nginx, app):
    app("")
    accepts(nginx(location("wsgi_middleware off;"), http="wsgi_middleware off; wsgi_middleware a;", start=False))
