"""Reads valgrind's XML reports and fails if one of them tells of memory misused with our module on the stack."""

import collections
import html
import pathlib
import re
import sys

MODULE = "ngx_http_wsgi_module.so"


def errors(path):
    """The errors of one report. A process that was killed leaves its XML unfinished, so this is no XML parser."""
    text = path.read_text(errors="replace")
    for found in re.finditer(r"<error>(.*?)</error>", text, re.S):
        error = found.group(1)
        kind = re.search(r"<kind>(.*?)</kind>", error).group(1)
        what = re.search(r"<(?:what|text)>(.*?)</(?:what|text)>", error).group(1)
        stacks = []
        for stack in re.findall(r"<stack>(.*?)</stack>", error, re.S):
            frames = []
            for frame in re.findall(r"<frame>(.*?)</frame>", stack, re.S):
                fields = {key: html.unescape(value)
                          for key, value in re.findall(r"<(obj|fn|file|line)>(.*?)</\1>", frame)}
                frames.append((fields.get("obj", ""), fields.get("fn", "?"),
                               f"{fields.get('file', '')}:{fields.get('line', '')}"))
            stacks.append(frames)
        yield kind, what, stacks


def main(folder):
    reports = sorted(pathlib.Path(folder).glob("*.xml"))
    if not reports:
        print("valgrind: no reports, so nothing was checked", file=sys.stderr)
        return 1
    ours, others = collections.Counter(), collections.Counter()
    for report in reports:
        for kind, what, stacks in errors(report):
            # The first stack is where it happened; the others tell where the memory came from.
            if stacks and any(obj.endswith(MODULE) for obj, _, _ in stacks[0]):
                # Interpreter and libc frames vary, the top and our first frames tell errors apart.
                lines = [f"    {fn} ({where if where != ':' else obj})" for obj, fn, where in stacks[0][:40]]
                rest = ["  memory from:"] + [f"    {fn} ({where if where != ':' else obj})"
                                             for obj, fn, where in (stacks[1] if len(stacks) > 1 else [])[:25]]
                ours["\n".join([f"{kind}: {what}", *lines, *rest])] += 1
            else:
                others[kind] += 1
    for text, count in ours.most_common():
        print(f"{count} time(s): {text}\n")
    print(f"valgrind: {len(reports)} processes, {sum(ours.values())} errors with {MODULE} on the stack, "
          f"{sum(others.values())} elsewhere {dict(others) or ''}")
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
