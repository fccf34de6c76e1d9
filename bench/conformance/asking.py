"""Asking a server one question after the other, and looking after it in between."""

import time

from conformance.verdicts import verdict

# Seconds for a server to answer after a probe.
ANSWERS = 6


def survived(server, before):
    """"" if a server is as it was, or what became of it."""
    for _ in range(20):
        # A process that ends needs a moment.
        if server.running() != before:
            return "died"
        if server.answers(ANSWERS):
            return "" if server.running() == before else "died"
        time.sleep(0.05)
    return "hung"


def ask_all(server, wanted, options):
    results = {}
    for probe in wanted:
        before = server.running()
        state, remark = verdict(server, probe)
        transcript = list(server.transcript)
        time.sleep(0.02)
        fate = survived(server, before)
        if fate:
            state, remark = "fail", f"{remark}; the server {fate}".removeprefix("; ")
            server.stop()
            server.start()
        results[probe.number] = (state, remark)
        if options.probe or options.server or options.show:
            print(f"{server.title:9} {probe.number:5} {state}{': ' + remark if remark else ''}", flush=True)
        if options.show:
            for direction, data in transcript:
                print(f"    {direction} {data[:600]!r}{' ...' if len(data) > 600 else ''}")
    if options.log:
        print(server.log())
    return results
