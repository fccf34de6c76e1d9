"""docs/asynchronous.md: configuration loads, Python compiles, links lead somewhere, names are those that there are."""

import re

import pytest

from harness.docs import assert_loads, blocks
from harness.nginx import ROOT

TEXT = (ROOT / "docs" / "asynchronous.md").read_text()
DIRECTIVES = (ROOT / "docs" / "directives.md").read_text()


@pytest.mark.parametrize("example", blocks(TEXT))
def test_configuration_loads(nginx, example):
    assert_loads(nginx(start=False), example)


@pytest.mark.parametrize("example", blocks(TEXT, "python"))
def test_python_compiles(example):
    compile(example, "docs/asynchronous.md", "exec")


def test_links_lead_somewhere():
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", TEXT, flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        path = (ROOT / "docs" / name).resolve() if name else ROOT / "docs" / "asynchronous.md"
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_named_directives_are_documented():
    documented = set(re.findall(r"^## (wsgi_\w+)$", DIRECTIVES, flags=re.M)) | {"wsgi_time"}
    assert set(re.findall(r"(?<![\w.-])wsgi_\w+", TEXT)) <= documented


SHOWS = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(sorted(key for key in environ if key[:4] in ("ngx.", "x-ws", "wsgi"))).encode()]
"""


def test_every_key_is_described(nginx):
    """Here and in the table of environ; and with threads there is none of them."""
    server = nginx("""
        location / { wsgi_pass app.py; wsgi_threads 0; }
        location /threads { wsgi_pass app.py; wsgi_threads 1; }
    """, apps={"app.py": SHOWS})
    inline = set(server.get("/").text.split()) - set(server.get("/threads").text.split())
    named = set(re.findall(r'environ\["([\w.-]+)"\]|`((?:ngx|wsgi|x-wsgiorg)\.[\w.-]+)', TEXT))
    named = {first or second for first, second in named}
    assert "wsgi.pause_output" in inline and inline <= named, inline - named
    table = DIRECTIVES[DIRECTIVES.index("\n## environ\n"):]
    for key in inline:
        # "x-wsgiorg.fdevent.readable", ".writable"
        assert f"`{key}`" in table or f"`.{key.rpartition('.')[2]}`" in table, key
