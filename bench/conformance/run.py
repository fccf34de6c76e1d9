#!/usr/bin/env python3
"""Asks the module and five other servers the same questions about WSGI, and writes docs/conformance.md.

    bench/conformance/run.py                                # everything, half a minute
    bench/conformance/run.py --server module --server uWSGI --probe 27a --show

The other servers come from PyPI, in the versions of requirements.txt, into build/conformance-venv. With --server or
--probe nothing is written; --show prints what went over the wire, and --log what the server said. The questions are in
probes/, and the application that answers them in apps/.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile

BENCH = pathlib.Path(__file__).resolve().parent.parent
# No cache folder among the sources.
sys.dont_write_bytecode = True
sys.path[:1] = [str(BENCH), str(BENCH.parent / "tests")]
from conformance import environment, report  # noqa: E402
from conformance.asking import ask_all  # noqa: E402
from conformance.console import Failed, say  # noqa: E402
from conformance.probes import PROBES  # noqa: E402
from conformance.servers import PEERS, Module, make_nginx  # noqa: E402
from harness import nginx as ngx  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", action="append", default=[])
    parser.add_argument("--probe", action="append", default=[])
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--log", action="store_true")
    return parser.parse_args()


def chosen(options):
    """(probes, titles of servers)"""
    unknown = set(options.probe) - {one.number for one in PROBES}
    if unknown:
        raise Failed(f"there is no probe {', '.join(sorted(unknown))}")
    titles = [Module.title, *[kind.title for kind in PEERS]]
    unknown = set(options.server) - set(titles)
    if unknown:
        raise Failed(f"--server may be {', '.join(titles)}")
    return ([one for one in PROBES if not options.probe or one.number in options.probe],
            [title for title in titles if not options.server or title in options.server])


def ask(title, home, wanted, options, missing):
    """(results or None, the line about the server)"""
    kind = {one.title: one for one in PEERS}.get(title)
    versions = {name.lower(): version for name, version in environment.requirements().items()}
    server = kind(home) if kind else Module(home, make_nginx(home))
    say(f"asking {title}")
    try:
        if title in missing:
            raise Failed(missing[title])
        server.start()
    except Failed as error:
        say(f"{title} is not run: {error}")
        return None, f"- {title} {versions[title.lower()]}: not run"
    try:
        results = ask_all(server, wanted, options)
        return results, (f"- {title} {versions[title.lower()]}: `{kind.shown}`" if kind else
                         f"- module {server.version()}: `location / {{ wsgi_pass ...; }}`")
    finally:
        server.stop()


def main():
    options = arguments()
    wanted, titles = chosen(options)
    if not os.path.exists(ngx.MODULE):
        raise Failed(f"there is no module at {ngx.MODULE}: run make first")
    missing = environment.make() if set(titles) - {Module.title} else {}
    columns, servers = [], []
    folder = pathlib.Path(tempfile.mkdtemp(prefix="wsgi-"))
    folder.chmod(0o755)
    try:
        for title in titles:
            home = folder / title
            home.mkdir(mode=0o755)
            results, line = ask(title, home, wanted, options, missing)
            columns.append((title, results))
            servers.append(line)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not options.server and not options.probe:
        report.write(wanted, columns, servers)
        for title, results in columns:
            print(f"{title:9} {report.summary(wanted, results)[0] if results else 'not run'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, ngx.NginxError) as failed:
        sys.exit(f"conformance: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
