"""Pieces of configuration in the documentation: found, completed with the files that they name, and loaded.

Paths such as /srv/app/wsgi.py exist on no machine that tests run on. What a piece names is made below the folder of
the test, and the piece is pointed to it.
"""

import os
import re
import subprocess

from .nginx import PYTHON

# Whatever callable an example names, for wsgi_preflight; a middleware is called with an application.
SCRIPT = '''
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *args: application


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"an example"]
'''

# What the template of the harness says already, or what would leave the folder of the test.
OF_THE_TEMPLATE = (r"^\s*(load_module|worker_processes|user|pid|daemon|error_log|access_log|"
                   r"(client_body|proxy|fastcgi|uwsgi|scgi)_temp_path)\s[^;]*;|^events\s*\{[^}]*\}")


def blocks(text, language="nginx"):
    """The blocks of one language, also those in lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, flags=re.M | re.S)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in found]


def made_up(server, text):
    """Makes what a piece names, and points the piece to it."""
    def create(path, kind="file"):
        where = server.folder / path.lstrip("/")
        where.parent.mkdir(parents=True, exist_ok=True)
        if kind == "directory":
            where.mkdir(exist_ok=True)
        elif kind == "home":
            environment(where)
        elif kind == "executable":
            environment(where.parent.parent)
        elif not where.exists():
            where.write_text(SCRIPT if kind == "script" else "")
        return str(where) if path.startswith("/") else path

    def script(found):
        directive, target = found.groups()
        target, colon, callable_ = target.partition(":")
        if "/" in target or target.endswith(".py"):
            target = create(target, "script")
        return directive + target + colon + callable_

    def argument(directive, kind):
        return re.sub(rf"(\b{directive}\s+)([^\s;]+)", lambda found: found[1] + create(found[2], kind), text)

    modules = re.findall(r"\bwsgi_(?:pass|middleware)\s+([a-z_.]+)\b(?![/-])", text)
    text = re.sub(r"(\bwsgi_(?:pass|middleware)\s+)([^\s;]+)", script, text)
    directories = re.findall(r"\bwsgi_python_path\s+([^;]+)", text)
    text = re.sub(r"(\bwsgi_python_path\s+)([^;]+)",
                  lambda found: found[1] + " ".join(create(path, "directory") for path in found[2].split()), text)
    if "wsgi_preflight on" in text:
        for directory in " ".join(directories).split():
            for module in modules:
                if not module.endswith(".py"):
                    package(server.folder / directory.lstrip("/"), module)
    text = argument("wsgi_python_home", "home")
    text = argument("wsgi_python_executable", "executable")
    text = argument("wsgi_temp_path", "directory")
    text = argument("auth_basic_user_file", "file")
    for name in re.findall(r"\binclude\s+(\w+_params);", text):
        create(name)
    return re.sub(r"\blisten\s+[^;]+;", "listen unix:%%FOLDER%%/example.sock;", text)


def environment(folder):
    """A virtual environment of the tested Python without any package."""
    if not (folder / "pyvenv.cfg").exists():
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True,
                       capture_output=True)


def package(folder, module):
    """An importable module in a folder."""
    *parents, name = module.split(".")
    for parent in parents:
        folder = folder / parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    (folder / f"{name}.py").write_text(SCRIPT)


def assert_loads(server, example):
    """Asserts that nginx accepts a piece: a whole configuration, or one for the outermost level that takes it."""
    text = made_up(server, example)
    places = [{"http": text}, {"server": text}, {"server": f"location / {{ {text} }}"}]
    if re.search(r"^http\s*\{", text, re.M):
        text = re.sub(OF_THE_TEMPLATE, "", text, flags=re.M)
        before, inside = re.fullmatch(r"(.*)^http\s*\{\n(.*)\n\}\s*", text, re.M | re.S).groups()
        places = [{"http": inside, "main": before}]
    tried = []
    for place in places:
        accepted, output = server.test_config(**place)
        if accepted:
            return
        tried.append(output)
    raise AssertionError("\n".join(tried) + os.linesep + text)
