"""The rounds of a scene in which one server runs at a time."""

from peers import Unable
from speed.rounds import in_turn
from speed.settings import Failed


def one_at_a_time(bench, scene, kinds, rounds, measure):
    """{contender: [what `measure(kind)` gave in each round]}; who fails is left out, and reported as missing."""
    rows = {kind.name: [] for kind in kinds}
    for turn in range(rounds):
        bench.say(f"  round {turn + 1} of {rounds}")
        for kind in in_turn(kinds, turn):
            if kind.name not in rows:
                continue
            try:
                rows[kind.name].append(measure(kind))
            except (Failed, Unable, OSError) as why:
                bench.missing(scene, kind.name, str(why))
                del rows[kind.name]
    return rows
