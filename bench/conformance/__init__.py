"""The same questions about WSGI for the module and for other servers. `run.py` is the command.

    probes/             the rules, one probe each, a file for each part of PEP 3333
    apps/               the application that answers them; app.py is what servers load
    servers.py          starts and ends the servers
    environment.py      makes the environment of the other servers, with requirements.txt
    asked.py            a server as probes see it
    client.py           the client on a raw socket
    verdicts.py         what becomes of a probe
    asking.py           asks one server all questions
    report.py           writes docs/conformance.md
    console.py          what the command says meanwhile
"""
