#!/usr/bin/env python3
"""What a request costs: the module beside nginx itself and beside ten other servers, in interleaved rounds.

    bench/run.py                                            # everything
    BENCH="hello stream" PEERS="uwsgi granian" ROUNDS=3 bench/run.py

All servers of a workload run at the same time, answer the same application, and are asked in turns. What counts is the
CPU time of all processes of a server, divided by its answers. build/bench/results.json has the figures; bench/README.md
tells the settings and how to read them.
"""

import os
import resource
import signal
import sys
from pathlib import Path

# No cache folder among the sources.
sys.dont_write_bytecode = True
sys.path[:1] = [str(Path(__file__).resolve().parent)]
import report  # noqa: E402
from scenes import SCENES  # noqa: E402
from speed import claims  # noqa: E402
from speed.results import STANDING  # noqa: E402
from speed.session import Session  # noqa: E402
from speed.settings import Failed, Options, setting  # noqa: E402


def main():
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    # For the servers as well, which inherit it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    session = Session(Options.from_environment(), SCENES)
    if os.getloadavg()[0] > 0.7:
        session.say(f"something else is running here, the load average is {os.getloadavg()[0]:.2f}: do not trust the "
                    "figures")
    session.run()
    print(f"the figures are in {session.results.path}")
    if session.results.path == STANDING:
        if session.results.complete():
            report.main()
        else:
            print('docs/benchmarks.md is written when everything has been measured: make bench BENCH=rest')
    if setting("CHECK", default="0") != "0" and not claims.holds(session.results.all):
        print("not all that is claimed holds: docs/benchmarks.md", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"bench: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
