"""What surrounds nginx does not reach Python: environment, arguments, working directory, locale."""

import os
import subprocess

from harness.nginx import PYTHON

APP = """
import json
import locale
import os
import sys


def application(environ, start_response):
    child = ""
    if environ["QUERY_STRING"] == "child":
        import subprocess
        child = subprocess.run([sys.executable, "-c", "import sys; print(sys.version)"], capture_output=True,
                               text=True).stdout.strip()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({
        "path": sys.path, "argv": sys.argv, "executable": sys.executable, "version": sys.version, "child": child,
        "prefix": sys.prefix, "flags": {name: getattr(sys.flags, name) for name in dir(sys.flags)
                                        if isinstance(getattr(sys.flags, name), (int, bool))},
        "fs": sys.getfilesystemencoding(), "locale": locale.getpreferredencoding(),
        "open": open(__file__).encoding, "main": "__main__" in sys.modules, "modules": sorted(sys.modules),
        "bytecode": sys.dont_write_bytecode, "environ": dict(os.environ),
    }).encode()]
"""
HOSTILE = {
    "PYTHONPATH": "/nonexistent/path", "PYTHONHOME": "/nonexistent/home", "PYTHONSTARTUP": "/nonexistent/startup",
    "PYTHONOPTIMIZE": "2", "PYTHONVERBOSE": "1", "PYTHONDEBUG": "1", "PYTHONINSPECT": "1", "PYTHONUTF8": "0",
    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "ascii",
    "PYTHONLEGACYWINDOWSSTDIO": "1", "PYTHONCASEOK": "1", "PYTHONPLATLIBDIR": "nonexistent", "LC_ALL": "C",
    "PYTHONEXECUTABLE": "/nonexistent/python", "PYTHONUSERBASE": "/nonexistent/user",
}


def ask(nginx, **more):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, **more)
    answer = server.get("/?child")
    assert answer.status == 200, server.tail()
    return answer.json()


def test_python_variables_do_nothing(nginx):
    calm = ask(nginx)
    # Both around nginx and handed on to the workers by nginx's own directive.
    stormy = ask(nginx, env=HOSTILE, main="\n".join(f"env {name};" for name in HOSTILE))
    assert stormy["flags"] == calm["flags"]
    assert [entry for entry in stormy["path"] if "nonexistent" in entry] == []
    assert stormy["prefix"] == calm["prefix"]
    assert stormy["executable"] == calm["executable"]
    assert stormy["bytecode"] == calm["bytecode"]
    assert stormy["flags"]["ignore_environment"] == 1
    assert stormy["flags"]["no_user_site"] == 1


def test_utf8_mode(nginx):
    for env in ({"LC_ALL": "C"}, {"LANG": "POSIX"}, {"LC_ALL": "de_DE.ISO-8859-1"}):
        seen = ask(nginx, env=env, main="env LC_ALL; env LANG;")
        assert seen["flags"]["utf8_mode"] == 1
        assert seen["fs"].lower() == "utf-8"
        assert seen["locale"].lower() in ("utf-8", "utf8")
        assert seen["open"].lower() in ("utf-8", "utf8")


def test_path_has_the_library_and_not_the_working_directory(nginx, folder):
    path = ask(nginx)["path"]
    assert "" not in path and "." not in path
    assert os.getcwd() not in path
    assert all(os.path.isabs(entry) for entry in path)
    stdlib = subprocess.run([PYTHON, "-c", "import json; print(json.__file__)"], capture_output=True, text=True,
                            check=True).stdout.strip()
    assert os.path.dirname(os.path.dirname(stdlib)) in path
    assert path[0] == str(folder), "the script's own directory"


def test_executable_is_a_python_of_this_version(nginx):
    seen = ask(nginx)
    assert os.access(seen["executable"], os.X_OK)
    assert "nginx" not in os.path.basename(seen["executable"])
    assert seen["child"].split()[0] == seen["version"].split()[0]


def test_argv(nginx):
    argv = ask(nginx)["argv"]
    assert isinstance(argv, list) and len(argv) >= 1
    assert all(isinstance(item, str) for item in argv)


def test_main_module_exists(nginx):
    """Libraries look at sys.modules["__main__"]."""
    assert ask(nginx)["main"]


def test_user_agent_cannot_reach_the_process_environment(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    seen = server.get("/", [("Proxy", "http://evil/")]).json()
    assert not [key for key in seen["environ"] if key.startswith("HTTP")]
