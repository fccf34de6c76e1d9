"""Figures in build/bench/results.json.

`cell`, `visit` and `row` say which figure; what they make is called with the results and a contender and gives the
figure of each round. `alone`, `ratio` and `difference` say what is made of it; what they make is called with the
results and gives (the value of each round, the contender that it was compared with). All raise Missing.
"""

import operator
import statistics


class Missing(Exception):
    """It was not measured; the text says what."""


def cell(workload, key):
    """Of a workload."""
    def find(results, contender):
        cells = results["workloads"].get(workload, {}).get("cells", {}).get(contender)
        if not cells:
            raise Missing(f"{contender} was not measured in {workload}")
        return [cell[key] for cell in cells]
    return find


def row(scene, value):
    """Of a scene: `value(row)`."""
    def find(results, contender):
        rows = results["scenes"].get(scene, {}).get("rows", {}).get(contender)
        if not rows:
            raise Missing(f"{contender} was not measured in {scene}")
        try:
            return [value(row) for row in rows]
        except KeyError as missing:
            raise Missing(f"{contender} has no {missing} in {scene}") from missing
    return find


def visit(scene, when, key):
    """Of the steady visitor of a scene; he has none if he was not answered."""
    return row(scene, lambda row: row[when][key])


def best(find, results, contenders):
    """The one of these with the least median."""
    medians = {}
    for contender in contenders:
        try:
            medians[contender] = statistics.median(find(results, contender))
        except Missing:
            continue
    if not medians:
        raise Missing(f"none of {', '.join(contenders)} was measured")
    return min(medians, key=medians.get)


def alone(find, ours, scale=1):
    return lambda results: ([value * scale for value in find(results, ours)], "")


def compared(how, find, ours, other):
    """Round by round with `other`, or with the best one of several."""
    def measure(results):
        rival = other if isinstance(other, str) else best(find, results, other)
        return list(map(how, find(results, ours), find(results, rival))), rival
    return measure


def ratio(find, ours, other):
    return compared(operator.truediv, find, ours, other)


def difference(find, ours, other, scale=1):
    return compared(lambda one, two: (one - two) * scale, find, ours, other)
