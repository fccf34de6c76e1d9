"""What bench/run.py measures with.

    settings.py     the environment of a run
    machine.py      cores, and CPU time from /proc
    server.py       one nginx with the module, on a core of its own
    load.py         what asks it: wrk, h2load, one long download, one steady visitor
    rounds.py       contenders in turns, ratios, spreads, the words of a table
    hello.py        CPU time per request: inline, one thread, eight threads
    stream.py       bytes per second of CPU time
    sleep.py        an application that waits, and static files beside it
"""
