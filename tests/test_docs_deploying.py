"""docs/deploying.md: every piece of nginx configuration loads, every directive it names is documented."""

import re
import subprocess

import pytest

from harness.docs import assert_loads, blocks
from harness.nginx import ROOT

TEXT = (ROOT / "docs" / "deploying.md").read_text()
DIRECTIVES = (ROOT / "docs" / "directives.md").read_text()
HEADINGS = dict(re.findall(r"^## ([^\n]+)$(.*?)(?=^## |\Z)", TEXT, flags=re.M | re.S))
EXAMPLES = [pytest.param(example, id=f"{heading.split()[0]}-{number}") for heading, text in HEADINGS.items()
            for number, example in enumerate(blocks(text), 1)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_loads(nginx, example):
    assert_loads(nginx(start=False), example)


def test_named_directives_are_documented():
    documented = set(re.findall(r"^## (wsgi_\w+)$", DIRECTIVES, flags=re.M))
    # Variables, and the names of wsgi_status.
    documented |= set(re.findall(r"`\$?(wsgi_\w+)`", DIRECTIVES))
    assert {name for name in re.findall(r"(?<![\w.-])wsgi_\w+", TEXT)} <= documented


def test_links_lead_somewhere():
    """Those to headings of this file and of its neighbours, and those to files."""
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT):
        if target.startswith("https:"):
            continue
        name, _, anchor = target.partition("#")
        path = ROOT / "docs" / name if name else ROOT / "docs" / "deploying.md"
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_shell_is_valid():
    for script in blocks(TEXT, "sh"):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)


LOG = """\
10.0.0.1 [21/Nov/2026:14:05:33 +0000] "GET / HTTP/1.1" 200 12 total=0.061 app=0.060 queue=0.000
10.0.0.1 [21/Nov/2026:14:05:34 +0000] "GET /a b HTTP/1.1" 200 12 total=0.021 app=0.020 queue=0.000
10.0.0.1 [21/Nov/2026:14:06:01 +0000] "GET /static/x HTTP/1.1" 200 12 total=0.000 app=- queue=-
"""


def test_figures_of_the_log():
    """The two commands about the access log, on lines in the format of the document."""
    (script,) = [block for block in blocks(TEXT, "sh") if "uniq -c" in block]
    busiest, mean = [line.replace(" access.log", "") for line in script.splitlines() if line.startswith("awk")]

    def run(command):
        return subprocess.run(["sh", "-c", command], input=LOG, text=True, check=True, capture_output=True).stdout
    assert run(busiest).split() == ["2", "21/Nov/2026:14:05"]
    count, seconds = run(mean).split()
    assert (int(count), float(seconds)) == (2, pytest.approx(0.04))


DOCKER = ROOT / "examples" / "docker"


def test_configuration_of_the_container(nginx):
    text = (DOCKER / "nginx.conf").read_text()
    assert_loads(nginx(start=False), text.replace("include /etc/nginx/mime.types;", ""))


def test_container_is_built_from_what_is_there():
    """No engine is needed to see that a file has been moved."""
    allowed = set(re.findall(r"^!(\S+)$", (DOCKER / "Dockerfile.dockerignore").read_text(), flags=re.M))
    sources = [source for line in re.findall(r"^COPY (?!--)(.+)$", (DOCKER / "Dockerfile").read_text(), flags=re.M)
               for source in line.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in allowed), source
    rust = re.search(r'^rust-version = "(.+)"', (ROOT / "Cargo.toml").read_text(), flags=re.M)[1]
    assert f"FROM rust:{rust}-" in (DOCKER / "Dockerfile").read_text()
