"""docs/directives.md: every directive is there, in nginx.org's form, with an example that loads."""

import os
import pathlib
import re

import pytest

from harness.nginx import MODULE, PYTHON, ROOT

DOCS = ROOT / "docs" / "directives.md"


def sections():
    """Text under each heading that names a directive."""
    text = DOCS.read_text() if DOCS.exists() else ""
    parts = re.split(r"^#+ +`?(wsgi_[a-z_]+)`? *$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def examples(text):
    return re.findall(r"^```nginx\n(.*?)^```$", text, flags=re.M | re.S)


SECTIONS = sections()
EXAMPLES = [pytest.param(example, id=f"{name}-{number}") for name, text in SECTIONS.items()
            for number, example in enumerate(examples(text), 1)]


def known_directives(nginx):
    """Names in the module that nginx takes for directives."""
    names = sorted({name.decode() for name in re.findall(rb"wsgi_[a-z_]+", pathlib.Path(MODULE).read_bytes())})
    server = nginx(start=False)
    known = []
    for name in names:
        _, output = server.test_config(server=f"{name};")
        if f'unknown directive "{name}"' not in output:
            known.append(name)
    return known


def test_every_directive_is_documented(nginx):
    known = known_directives(nginx)
    assert "wsgi_pass" in known
    assert sorted(SECTIONS) == known


@pytest.mark.parametrize("name", SECTIONS)
def test_form(name):
    """Syntax, Default, Context, prose, example."""
    text = SECTIONS[name]
    for word in ("Syntax", "Default", "Context"):
        assert re.search(rf"\b{word}\b", text), f"{name} has no {word}"
    assert any(name in example for example in examples(text)), f"{name} has no example"


def made_up(server, text):
    """Makes what the example names, below the test's folder, and points the example to it."""
    def create(path, kind):
        where = server.folder / path.lstrip("/")
        if kind == "directory":
            where.mkdir(parents=True, exist_ok=True)
        else:
            where.parent.mkdir(parents=True, exist_ok=True)
            if not where.exists():
                if kind == "executable":
                    os.symlink(PYTHON, where)
                else:
                    where.write_text("")
        return str(where) if path.startswith("/") else path

    def script(found):
        target, colon, callable_ = found.group(2).partition(":")
        if "/" in target or target.endswith(".py"):
            target = create(target, "script")
        return found.group(1) + target + colon + callable_

    text = re.sub(r"(\bwsgi_pass\s+)([^\s;]+)", script, text)
    text = re.sub(r"(\bwsgi_python_path\s+)([^;]+)",
                  lambda m: m.group(1) + " ".join(create(path, "directory") for path in m.group(2).split()), text)
    text = re.sub(r"(\bwsgi_python_home\s+)([^\s;]+)", lambda m: m.group(1) + create(m.group(2), "directory"), text)
    text = re.sub(r"(\bwsgi_python_executable\s+)([^\s;]+)", lambda m: m.group(1) + create(m.group(2), "executable"),
                  text)
    text = re.sub(r"(\bwsgi_temp_path\s+)([^\s;]+)", lambda m: m.group(1) + create(m.group(2), "directory"), text)
    text = re.sub(r"(\bauth_basic_user_file\s+)([^\s;]+)", lambda m: m.group(1) + create(m.group(2), "script"), text)
    text = re.sub(r"\bload_module\s+[^;]+;", "", text)
    return re.sub(r"\blisten\s+[^;]+;", "listen unix:%%FOLDER%%/example.sock;", text)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_loads(nginx, example):
    """As a whole configuration, or at the outermost level that takes it."""
    server = nginx(start=False)
    text = made_up(server, example)
    tried = []
    places = [{"http": text}, {"server": text}, {"server": f"location / {{ {text} }}"}]
    if re.search(r"^\s*http\s*\{", text, re.M):
        inside = re.search(r"http\s*\{(.*)\}", text, re.S).group(1)
        places = [{"http": inside, "main": text[:text.index("http")]}]
    for place in places:
        accepted, output = server.test_config(**place)
        if accepted:
            return
        tried.append(output)
    raise AssertionError("\n".join(tried))
