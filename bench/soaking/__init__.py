"""What bench/soak.py is made of.

    app.py          the application, whose answers follow from the question
    server.py       two nginx with it: one that runs through, one that is reloaded all the time
    clients.py      what visitors do: ask, check, dawdle, leave
    http2.py        the same over HTTP/2
    samples.py      memory, threads, descriptors of all processes, once a second or two
    verdict.py      what must not have happened
"""
