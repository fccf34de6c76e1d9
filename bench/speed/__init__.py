"""What the benchmarks measure with.

    settings.py     the environment of a run
    machine.py      cores, and CPU time and memory from /proc
    environment.py  build/bench-venv
    process.py      a server as a child of ours, and what can be measured of it
    server.py       nginx, with the module or without
    database.py     a PostgreSQL for a while
    load.py         what asks: wrk, h2load, uploads, one steady visitor
    crowd.py        thousands of visitors at once
    rounds.py       contenders in turns, ratios, spreads, the words of a table
    workloads.py    what `make bench` asks for, and whom
    session.py      one run of `make bench`
    results.py      build/bench/results.json
    figures.py      figures in it, and what is made of them
    claims.py       what is claimed, and whether it holds
"""
