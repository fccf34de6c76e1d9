"""The list of the rules: what a rule is, and how a probe enters it."""

import typing


class Probe(typing.NamedTuple):
    number: str         # of the fifty points by which tests/test_pep3333_*.py are named, and a letter
    level: str
    source: str
    rule: str
    ask: typing.Callable


PROBES = []
SECTIONS = {}           # the number of the first probe of a section: its title


def section(title):
    SECTIONS[len(PROBES)] = title


def probe(number, level, source, rule):
    assert level in ("must", "should", "error", "usual") and number not in [one.number for one in PROBES]

    def add(function):
        PROBES.append(Probe(number, level, source, rule, function))
        return function
    return add
