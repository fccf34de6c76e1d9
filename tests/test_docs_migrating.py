"""docs/migrating.md: every piece of nginx configuration loads, and every directive it names exists."""

import re

import pytest

from harness.docs import assert_loads, blocks
from harness.nginx import ROOT

TEXT = (ROOT / "docs" / "migrating.md").read_text()
HEADINGS = dict(re.findall(r"^## (From [^\n]+)$(.*?)(?=^## |\Z)", TEXT, flags=re.M | re.S))
EXAMPLES = [pytest.param(example, id=f"{heading.split()[1]}-{number}") for heading, text in HEADINGS.items()
            for number, example in enumerate(blocks(text), 1)]


def test_every_server_has_its_configuration():
    assert len(HEADINGS) == 5
    for heading, text in HEADINGS.items():
        assert blocks(text), f"nothing to load in {heading!r}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_loads(nginx, example):
    assert_loads(nginx(start=False), example)


def test_named_directives_are_documented_or_planned():
    """What the tables promise is in directives.md, what they call "not yet" is in TODO.md."""
    documented = set(re.findall(r"^## (wsgi_\w+)$", (ROOT / "docs" / "directives.md").read_text(), flags=re.M))
    planned = set(re.findall(r"\bwsgi_\w+", (ROOT / "TODO.md").read_text()))
    of_others = {"wsgi_vars", "wsgi_app"}
    for line in TEXT.splitlines():
        for name in re.findall(r"(?<![\w.-])wsgi_\w+", line):
            if name not in documented | of_others:
                assert name in planned, name
                assert "not yet" in line, line
