"""wsgi_preflight on: `nginx -t` and a start fail for an application that cannot be imported, and say where and why."""

import re
import subprocess

import pytest

from harness.conf import accepts
from harness.preflight import complaints, line_of

pytestmark = pytest.mark.once

HTTP = "wsgi_preflight on; wsgi_python_path %%FOLDER%%;"
GOOD = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"good"]


def create_app():
    return application
"""


def site(nginx, server, http=HTTP, apps=None, **more):
    return nginx("\n" + server, http=http, apps={"app.py": GOOD, **(apps or {})}, start=False, **more)


@pytest.mark.parametrize("server", [
    "location / { wsgi_pass app.py; }",
    "location / { wsgi_pass app.py:create_app(); }",
    "location / { wsgi_pass shop.wsgi; }",
    "location / { wsgi_middleware wsgiref.validate validator; wsgi_pass app.py; }",
    "location / { wsgi_pass app.py; limit_except GET { wsgi_pass shop.wsgi; } }",
    "location / { return 200; }",
])
def test_silent_where_nothing_is_wrong(nginx, server):
    output = accepts(site(nginx, server, apps={"shop/__init__.py": "", "shop/wsgi.py": GOOD}))
    assert "wsgi: " not in output, output
    assert len(output.splitlines()) == 2


@pytest.mark.parametrize("directive, text, said", [
    ("wsgi_pass bad.py;", "import nothing_like_this\n",
     'cannot load application "%%FOLDER%%/bad.py": ModuleNotFoundError: No module named \'nothing_like_this\''),
    ("wsgi_pass bad.py;", "def f(:\n", re.compile(r'cannot load application "\S+/bad\.py": SyntaxError: .*')),
    ("wsgi_pass bad.py;", "x = 1\n",
     re.compile(r'cannot load application "\S+/bad\.py": AttributeError: .*application.*')),
    ("wsgi_pass bad.py:shop;", GOOD,
     re.compile(r'cannot load application "\S+/bad\.py:shop": AttributeError: .*shop.*')),
    ("wsgi_pass bad.py;", "application = None\n", re.compile(r'cannot load application "\S+": TypeError: .*')),
    ("wsgi_pass bad.py:make();", "def make():\n    raise ValueError('in the factory')\n",
     re.compile(r'cannot load application "\S+/bad\.py:make\(\)": ValueError: in the factory')),
    ("wsgi_pass bad.py:make();", "def make():\n    return 1\n",
     re.compile(r'cannot load application "\S+": TypeError: .*')),
    ("wsgi_pass bad.py;", "import sys\nsys.exit(3)\n",
     re.compile(r'cannot load application "\S+/bad\.py": SystemExit: 3')),
    ("wsgi_pass bad.py;", "raise KeyboardInterrupt\n",
     re.compile(r'cannot load application "\S+/bad\.py": KeyboardInterrupt.*')),
    ("wsgi_pass bad.py;", "raise ValueError('100%s %n')\n",
     re.compile(r'cannot load application "\S+/bad\.py": ValueError: 100%s %n')),
    ("wsgi_pass missing.module;", "",
     re.compile(r'cannot load application "missing\.module": ModuleNotFoundError: No module named .missing.*')),
    ("wsgi_pass bad:other;", GOOD, re.compile(r'cannot load application "bad:other": AttributeError: .*other.*')),
    ("wsgi_middleware missing_package; wsgi_pass bad.py;", GOOD,
     'cannot load middleware "missing_package" of application "%%FOLDER%%/bad.py": '
     "ModuleNotFoundError: No module named 'missing_package'"),
    ("wsgi_middleware bad create_app; wsgi_pass app.py;", GOOD,
     re.compile(r'cannot load middleware "bad:create_app" of application "\S+/app\.py": TypeError: .*')),
])
def test_refused_with_file_and_line(nginx, directive, text, said):
    server = site(nginx, """
        location /good/ { wsgi_pass app.py; }
        location / {
            %s
        }
    """ % directive, apps={"bad.py": text})
    ((found, number),) = complaints(server)
    if isinstance(said, str):
        assert found == server.expand(said)
    else:
        assert said.fullmatch(found), found
    assert number == line_of(server, directive)


def test_the_traceback(nginx, folder):
    server = site(nginx, "location / { wsgi_pass bad.py; }", apps={"bad.py": "import helper\n",
                                                                  "helper.py": "def f():\n    1 / 0\nf()\n"})
    accepted, output = server.test_config()
    assert not accepted
    lines = [re.sub(r"^nginx: \[emerg\] wsgi: ", "", line) for line in output.splitlines() if "[emerg] wsgi: " in line]
    assert lines[0].startswith("cannot load application ")
    lines = [line for line in lines[1:] if not re.match(r"\s+[\^~]+$", line)]  # Python 3.11 underlines
    assert lines == ["Traceback (most recent call last):",
                     f'  File "{folder}/bad.py", line 1, in <module>', "    import helper",
                     f'  File "{folder}/helper.py", line 3, in <module>', "    f()",
                     f'  File "{folder}/helper.py", line 2, in f', "    1 / 0",
                     "ZeroDivisionError: division by zero"]


def test_a_very_long_message_is_complete(nginx):
    server = site(nginx, "location / { wsgi_pass bad.py; } location /2 { wsgi_pass worse.py; }", apps={
        "bad.py": "raise ValueError(' '.join(f'w{n:05}' for n in range(50000)))\n", "worse.py": "1 / 0\n"})
    accepted, output = server.test_config()
    assert not accepted
    assert {f"w{n:05}" for n in range(50000)} <= set(re.findall(r"w\d{5}", output))
    assert "ZeroDivisionError" in output


def test_many_applications(nginx):
    server = site(nginx, "\n".join(f"location /{n}/ {{ wsgi_pass apps/{n}.py; }}" for n in range(50)),
                  apps={f"apps/{n}.py": GOOD if n % 2 else f"raise ValueError('broken {n}')\n" for n in range(50)})
    found = complaints(server)
    assert [number for _, number in found] == [line_of(server, f" apps/{n}.py;")
                                               for n in range(0, 50, 2)]
    assert [text.rpartition(" ")[2] for text, _ in found] == [str(n) for n in range(0, 50, 2)]


def test_every_broken_application_is_reported(nginx):
    server = site(nginx, """
        location / { wsgi_pass first.py; }
        location /good/ { wsgi_pass app.py; }
        location /second/ { wsgi_pass second.py; }
        location /third/ { wsgi_pass missing.module; }
    """, apps={"first.py": "1 / 0\n", "second.py": "import nothing_like_this\n"})
    found = complaints(server)
    assert [number for _, number in found] == [line_of(server, marker) for marker in (
        "wsgi_pass first.py", "wsgi_pass second.py", "wsgi_pass missing.module")]
    for (text, _), error in zip(found, ("ZeroDivisionError", "ModuleNotFoundError", "ModuleNotFoundError")):
        assert f": {error}: " in text


def test_in_a_second_server_and_in_an_included_file(nginx, folder):
    (folder / "extra.conf").write_text("\n\nlocation / { wsgi_pass bad.py; }\n")
    server = site(nginx, "location / { wsgi_pass app.py; }", apps={"bad.py": "1 / 0\n"},
                  servers="server { listen unix:%%FOLDER%%/b.sock; include extra.conf; }")
    accepted, output = server.test_config()
    assert not accepted
    assert re.search(rf'cannot load application "\S+/bad\.py": ZeroDivisionError: .* in {folder}/extra\.conf:3$',
                     output, re.M)


def test_off(nginx):
    server = site(nginx, "location / { wsgi_pass bad.py; }", apps={"bad.py": "1 / 0\n"})
    assert "ZeroDivisionError" not in accepts(server, http="wsgi_preflight off;")
    assert "ZeroDivisionError" not in accepts(server, http=""), "off is the default"
    assert len(complaints(server)) == 1


def test_a_start_fails_too(nginx):
    server = site(nginx, "location / { wsgi_pass bad.py; }", apps={"bad.py": "1 / 0\n"})
    server.write_conf()
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    number = line_of(server, "wsgi_pass bad.py")
    assert f"ZeroDivisionError: division by zero in {server.conf_path}:{number}" in done.stderr
    assert "wsgi: Traceback" in done.stderr


def test_a_start_with_good_applications(nginx):
    server = nginx("location / { wsgi_pass app.py; }", http=HTTP, apps={"app.py": GOOD}, workers=2)
    assert server.get("/").text == "good"
    server.hup()
    assert server.get("/").text == "good"


def test_an_error_of_the_configuration_comes_first(nginx):
    """Nothing is imported for a configuration that is refused anyway."""
    server = site(nginx, "location / { wsgi_pass bad.py; } no_such_directive;", apps={
        "bad.py": "open(__file__ + '.imported', 'w')\n"})
    accepted, output = server.test_config()
    assert not accepted and "unknown directive" in output
    assert not (server.folder / "bad.py.imported").exists()


def test_sub_interpreters(nginx):
    server = site(nginx, """
        location / { wsgi_python_path lib1; wsgi_pass one.py; }
        location /two { wsgi_python_path lib2; wsgi_pass two.py; }
        location /bad { wsgi_pass bad.py; }
    """, http="wsgi_preflight on; wsgi_enable_subinterpreters on;", apps={
        "lib1/name.py": "NAME = 1\n", "lib2/name.py": "NAME = 2\n",
        "one.py": "from name import NAME\n1 / (NAME == 1)\n" + GOOD,
        "two.py": "from name import NAME\n1 / (NAME == 2)\n" + GOOD, "bad.py": "from name import NAME\n" + GOOD})
    ((text, number),) = complaints(server)
    assert "bad.py" in text and "ModuleNotFoundError: No module named 'name'" in text
    assert number == line_of(server, "wsgi_pass bad.py")
    (server.folder / "bad.py").write_text(GOOD)
    accepts(server)


def test_the_same_script_is_imported_once(nginx, folder):
    server = site(nginx, """
        location / { wsgi_pass noting.py; }
        location /2 { wsgi_pass noting.py; }
        location /3 { wsgi_pass noting.py:create_app(); }
    """, apps={"noting.py": "with open(__file__ + '.imported', 'a') as file: file.write('x')\n" + GOOD})
    accepts(server)
    assert (folder / "noting.py.imported").read_text() == "x"


def test_quit_works_with_a_broken_application(nginx, folder):
    """`nginx -s` reads the configuration as well; it is no moment for imports."""
    server = nginx("location / { wsgi_pass app.py; }", http=HTTP, apps={"app.py": GOOD})
    (folder / "app.py").write_text("open(__file__ + '.imported', 'w')\n1 / 0\n")
    done = subprocess.run(server.command("-s", "quit"), capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "ZeroDivisionError" not in done.stderr
    assert server.wait_exit() == 0
    assert not (folder / "app.py.imported").exists()
