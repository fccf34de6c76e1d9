"""docs/directives.md: every directive is there, in nginx.org's form, with an example that loads."""

import pathlib
import re

import pytest

from harness.docs import assert_loads, blocks
from harness.nginx import MODULE, ROOT

DOCS = ROOT / "docs" / "directives.md"


def sections():
    """Text under each heading that names a directive."""
    text = DOCS.read_text() if DOCS.exists() else ""
    parts = re.split(r"^#+ +`?(wsgi_[a-z_]+)`? *$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


SECTIONS = sections()
EXAMPLES = [pytest.param(example, id=f"{name}-{number}") for name, text in SECTIONS.items()
            for number, example in enumerate(blocks(text), 1)]


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
    assert any(name in example for example in blocks(text)), f"{name} has no example"


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_loads(nginx, example):
    """As a whole configuration, or at the outermost level that takes it."""
    assert_loads(nginx(start=False), example)
