"""What is written: docs/conformance.md, and build/conformance.json with the same results."""

import datetime
import json
import platform
import subprocess
import textwrap

from conformance.probes import SECTIONS
from harness import nginx as ngx

DOCUMENT = ngx.ROOT / "docs" / "conformance.md"
RESULTS = ngx.BUILD / "conformance.json"

INTRODUCTION = """\
# Conformance

Which rules of WSGI and HTTP the module keeps, and which other servers do, as their clients and applications see it.
This page is written by `make conformance`, which asks all servers the same {count} questions in one run. To see what
goes over the wire for single ones:

```sh
build/venv/bin/python bench/conformance/run.py --server module --server uWSGI --probe 27a --show
```

The questions are in `bench/conformance/probes/`, the one application that answers them under every server is
`bench/conformance/apps/app.py`. `make test` asks the module alone, and fails if the table and the questions are not the
same or a cell of the module's column is not full.

{when}, {machine}, {python}; each server with one process, and otherwise as it is installed:

{servers}

A rule is held against a server by its level:

- *must*, *should*: PEP 3333, or the RFC that is named, says so of servers.
- *error*: the application is at fault. The rule holds if the client gets 500 instead of an answer that was made up.
- *usual*: nobody demands it, but applications rely on it, or are safer with it. An RFC named here is where the idea is
  from.

The choice of rules is that of this project. The remarks say what was seen, so that everybody can judge.

✓ the rule holds, ✗ it does not (see [remarks](#remarks)), — it cannot be asked of this server. The numbers are those
of the tests in `tests/test_pep3333_*.py`, and a letter parts a point into rules.

Every server is asked directly. Those that usually stand behind another one, such as uWSGI behind nginx, are spared
some of this there: a proxy adds a missing Date (31a), removes bodies that must not be (43), answers `Expect` (21), and
decodes chunks (18a).
"""

LEFT_OUT = """\
## What has no row

- What is the duty of the application or of a middleware: that it does not yield `str`, calls `start_response()` before
  its first block, ends its iteration, does not read past `CONTENT_LENGTH` on other servers (parts of 23 to 40, 46).
- What servers may do and may leave: stop early when nobody wants the rest (40), answer conditions and ranges on their
  own (44), take a status without a reason (23), take `bytes` as the whole body (33: its items are numbers, but servers
  may know better), derive Content-Length (36), send a file by sendfile (46).
- What cannot be seen from outside: that the copy of a header is the application's own list (24), that an extension
  which goes around WSGI takes the piece that it replaces (14), that a file keeps its own offset (48).
- What not all servers have: HTTP/2 and HTTP/3, subrequests, internal redirects, `close()` at the end of a worker (39).
  The module's own tests are about those.
"""


def summary(wanted, results):
    applies = [one for one in wanted if results[one.number][0] != "skip"]
    kept = [one for one in applies if results[one.number][0] == "pass"]

    def part(*levels):
        of = [one for one in applies if one.level in levels]
        return f"{len([one for one in kept if one.level in levels])} of {len(of)}"
    return f"{len(kept)} of {len(applies)}", part("must"), part("should"), part("error"), part("usual")


def source(probe):
    return f"RFC {probe.source}" if probe.source[:1].isdigit() else probe.source or "–"


def document(wanted, columns, told):
    """The text of docs/conformance.md. `columns`: [(title, results or None)]."""
    lines = [INTRODUCTION.format(count=len(wanted), **told)]
    lines += ["## Summary", "", "| server | rules kept | must | should | error | usual |",
              "|---|---:|---:|---:|---:|---:|"]
    for title, results in columns:
        cells = summary(wanted, results) if results else ("not run", "", "", "", "")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", "## Rules"]
    for number, probe in enumerate(wanted):
        if number in SECTIONS:
            lines += ["", f"### {SECTIONS[number]}", "",
                      f"| | rule | level | source | {' | '.join(title for title, _ in columns)} |",
                      f"|---|---|---|---|{':-:|' * len(columns)}"]
        marks = [{"pass": "✓", "fail": "✗", "skip": "—"}[results[probe.number][0]] if results else "not run"
                 for _, results in columns]
        lines.append(f"| {probe.number} | {probe.rule} | {probe.level} | {source(probe)} | {' | '.join(marks)} |")
    lines += ["", "## Remarks", "", "What was seen where a rule does not hold, or cannot be asked.", ""]
    for title, results in columns:
        remarks = [(number, remark) for number, (state, remark) in (results or {}).items() if state != "pass"]
        if not remarks:
            continue
        lines += [f"### {title}", ""]
        for number, remark in remarks:
            lines += textwrap.wrap(f"- {number}: {remark}", 118, subsequent_indent="  ", break_long_words=False,
                                   break_on_hyphens=False)
        lines.append("")
    return "\n".join(lines) + "\n" + LEFT_OUT


def write(wanted, columns, servers):
    """`servers`: a line about each, which the document shows."""
    python = subprocess.run([ngx.PYTHON, "-V"], capture_output=True, text=True).stdout.split()[1]
    told = {"when": f"{datetime.date.today():%d %B %Y}".lstrip("0"), "python": f"CPython {python}",
            "machine": f"{platform.system()} {platform.machine()}", "servers": "\n".join(servers)}
    RESULTS.write_text(json.dumps({**told, "results": dict(columns), "rules": [one[:4] for one in wanted]}, indent=1)
                       + "\n")
    DOCUMENT.write_text(document(wanted, columns, told))
