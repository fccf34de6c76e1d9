"""The outcome of one probe: the rule holds, it does not, or it cannot be asked."""

import traceback

from harness import http


class Fail(Exception):
    """The rule does not hold; the text says what was seen."""


class Skip(Exception):
    """The rule cannot be asked of this server; the text says why."""


def fail(remark):
    raise Fail(remark)


def skip(remark):
    raise Skip(remark)


def verdict(server, probe):
    """("pass" | "fail" | "skip", remark)"""
    server.forget()
    server.transcript.clear()
    try:
        probe.ask(server)
    except Fail as error:
        return "fail", str(error)
    except Skip as error:
        return "skip", str(error)
    except (OSError, http.Truncated) as error:
        return "fail", f"no answer ({type(error).__name__})"
    except Exception:
        traceback.print_exc()
        return "fail", "the probe could not make sense of the answer"
    return "pass", ""
