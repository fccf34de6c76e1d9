"""The questions of bench/conformance/probes/, one test each, to the module alone.

`make conformance` asks other servers too and writes docs/conformance.md, which must not lag behind.
"""

import re
import sys

import pytest

from harness.nginx import ROOT, THREADS

sys.path.insert(0, str(ROOT / "bench"))
from conformance import report  # noqa: E402
from conformance.asking import survived  # noqa: E402
from conformance.probes import PROBES  # noqa: E402
from conformance.servers import Module  # noqa: E402
from conformance.verdicts import verdict  # noqa: E402

pytestmark = pytest.mark.once

# That an iteration may be given up is a permission; what must happen then is in 37b, 39b and 39c.
POINTS_WITHOUT_A_ROW = {40}
# ngx.WSGI_POLLIN and ngx.WSGI_POLLOUT have had their names since 2008. They are not there with threads.
KNOWN = set() if THREADS else {"14"}


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.number)
def test_rule(nginx, folder, probe):
    server = Module(folder, nginx).start()
    before = server.running()
    try:
        state, remark = verdict(server, probe)
    except AssertionError as error:
        state, remark = "fail", str(error)
    assert state == ("fail" if probe.number in KNOWN else "pass"), f"{probe.rule}: {remark}\n{server.transcript}"
    assert survived(server, before) == ""


def rows():
    """[(number, rule, level, source, cells)] of the tables, in order."""
    found = []
    for line in report.DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(r"\| \d", line):
            found.append((*cells[:4], cells[4:]))
    return found


def test_the_page_holds_exactly_these_rules():
    listed = [tuple(row[:4]) for row in rows()]
    assert listed == [(one.number, one.rule, one.level, report.source(one)) for one in PROBES]


def test_the_column_of_the_module_is_full():
    assert {row[0] for row in rows() if row[4][0] != "✓"} == {"14"}


def test_every_point_has_a_row():
    points = {int(re.match(r"\d+", one.number).group()) for one in PROBES}
    assert set(range(1, 51)) - points == POINTS_WITHOUT_A_ROW
