"""What bench/run.py keeps of its figures, and what docs/benchmarks.md makes of them: figures that nobody measured, and
no picture, because there need be no matplotlib here."""

import copy
import pathlib
import re
import sys
import types

import pytest

from harness.nginx import ROOT

sys.path.insert(0, str(ROOT / "bench"))
from report import page  # noqa: E402
from speed import results as kept  # noqa: E402
from speed.claims import verdicts  # noqa: E402
from speed.settings import Options  # noqa: E402
from speed.workloads import WORKLOADS  # noqa: E402

pytestmark = pytest.mark.once

NAMES = ("hello", "django", "hello-2workers", "python")
PLACE = types.SimpleNamespace(server_cores=frozenset({0}), load_cores=frozenset({1}))
COSTS = {"return-200": 5, "module": 6, "module-fast": 5.7, "fastpysgi": 5.8, "uwsgi": 30}


def options(bench=(), peers=(), **settings):
    return Options(**{"rounds": 7, "seconds": 1, "connections": 16, "workers": 1, **settings}, bench=bench, peers=peers)


def cells(costs):
    rest = {"rps": 1000, "p50_ms": 0.1, "p99_ms": 0.2, "max_ms": 3, "requests": 1000, "others": 0, "pss_kib": 11264}
    return {name: [{"cpu_us": cost * factor, **rest} for factor in (1, 1.1, 1.2)] for name, cost in costs.items()}


def measured(path, monkeypatch, begun, names, asked=None, costs=COSTS):
    """One run that measures these, later than the last one."""
    monkeypatch.setattr(kept, "now", lambda: begun)
    results = kept.Results(path, PLACE, asked or options(), NAMES)
    for name in names:
        results.begin(name)
        if name == "python":
            rows = {"python3": [{"loop": 100, "django": 10}], "module-fast": [{"loop": 80, "django": 9}]}
            results.scene(name, {"what": "Python", "rows": rows, "versions": {"python3": "Python 3.11"}, "ratio": {
                "loop": {"python3": 1, "module-fast": 0.8}, "django": {"python3": 1, "module-fast": 0.9}}})
        else:
            results.workload(WORKLOADS[name], PLACE, WORKLOADS[name].workers or 1, cells(costs))
    results.versions({"module": f"module of {begun}"})
    results.save()
    return results


FIRST, LATER = "2026-01-02T10:00:00+00:00", "2026-01-02T12:00:00+00:00"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.json"


def test_a_run_replaces_what_it_measures_and_nothing_else(path, monkeypatch):
    before = copy.deepcopy(measured(path, monkeypatch, FIRST, NAMES).all)
    after = measured(path, monkeypatch, LATER, ["django"], options(("django",)), {**COSTS, "module": 9}).all
    assert kept.load(path) == after
    assert after["workloads"]["django"]["run"] == LATER
    assert after["workloads"]["django"]["cells"]["module"][0]["cpu_us"] == 9
    for part, name in (("workloads", "hello"), ("workloads", "hello-2workers"), ("scenes", "python")):
        assert after[part][name] == before[part][name]
    # In the order of all workloads, whenever they were measured.
    assert list(after["workloads"]) == ["hello", "django", "hello-2workers"]


def test_a_run_of_which_nothing_is_left_is_forgotten(path, monkeypatch):
    measured(path, monkeypatch, FIRST, NAMES)
    assert list(measured(path, monkeypatch, LATER, NAMES).all["runs"]) == [LATER]


def test_what_fails_leaves_no_figures_of_before(path, monkeypatch):
    measured(path, monkeypatch, FIRST, NAMES)
    results = measured(path, monkeypatch, LATER, [])
    results.begin("hello")
    results.missing("hello", "all", "no reason")
    results.save()
    assert "hello" not in kept.load(path)["workloads"]
    assert results.complete()


def test_rest_is_what_a_run_of_everything_did_not_come_to(path, monkeypatch):
    assert kept.rest(measured(path, monkeypatch, FIRST, NAMES).all, NAMES) == []
    interrupted = measured(path, monkeypatch, LATER, ["hello"])
    assert kept.rest(interrupted.all, NAMES) == ["django", "hello-2workers", "python"]
    resumed = measured(path, monkeypatch, "2026-01-02T12:30:00+00:00", ["django", "hello-2workers", "python"],
                       options(("rest",)))
    assert kept.rest(resumed.all, NAMES) == []


@pytest.mark.parametrize("asked, trial", [
    (options(), False), (options(rounds=1), False), (options(("django",)), False),
    (options(("django",), rounds=9), False), (options(("django",), rounds=1), True),
    (options(("django",), connections=64), True), (options(("django",), ("uwsgi",)), True),
    (options((), ("uwsgi",)), True)])
def test_what_is_worth_less_is_kept_apart(path, monkeypatch, asked, trial):
    assert kept.is_trial(asked, measured(path, monkeypatch, FIRST, NAMES).all) is trial


def section(text, heading):
    """From this heading to the next one of its kind."""
    return re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def test_the_page_of_one_run(path, monkeypatch):
    results = measured(path, monkeypatch, FIRST, NAMES).all
    text = page(results, ["hello.svg", "django.svg"])
    assert not re.search(r"@[A-Z]+@", text)
    assert "Measured in one run, 2026-01-02 10:00 UTC" in text and "same run.**" not in text
    assert "(benchmarks/hello.svg)" in text and "(benchmarks/overview.svg)" not in text
    assert "### hello-2workers" in section(text, "Two workers")
    assert "2workers" not in section(text, "Workloads") + section(text, "What is claimed, and whether it holds")
    assert "| **nginx mod_wsgi, fast libpython** | 80.0 |" in section(text, "Scenes")


def test_the_page_says_where_the_module_loses(path, monkeypatch):
    results = measured(path, monkeypatch, FIRST, NAMES).all
    lost = section(page(results, []), "Where it loses")
    assert "- hello against the best bare event-loop server: 1.034 × instead of ≤ 1 × (FastPySGI)" in lost
    assert "| `hello` | 6.6 | FastPySGI 6.4 | 6.3 | nobody |" in lost
    # What was not measured is told as well, and why.
    assert "post1m against nginx + uWSGI: not measured, module was not measured in post1m" in lost
    held = [verdict.claim.text for verdict in verdicts(results) if verdict.holds]
    assert "hello against nginx + uWSGI" in held and not any(f"- {text}:" in lost for text in held)


def test_the_page_of_several_runs_tells_their_times(path, monkeypatch):
    measured(path, monkeypatch, FIRST, NAMES)
    text = page(measured(path, monkeypatch, LATER, ["django"], options(("django",))).all, [])
    runs = text.split("## What is claimed", 1)[0]
    assert "**Not everything was measured in the same run.**" in runs
    assert re.search(r"\| 2026-01-02 10:00 UTC \| .* \| `hello`, `hello-2workers`, `python` \|", runs)
    assert re.search(r"\| 2026-01-02 12:00 UTC \| .* \| `django` \|", runs)
    assert "13 bytes by Django. Measured 2026-01-02 12:00 UTC." in text
    assert "13 bytes. Measured 2026-01-02 10:00 UTC." in text
    assert f"module of {FIRST}" in text and f"module of {LATER}" in text


def test_the_page_names_no_folder_of_the_machine(path, monkeypatch):
    results = measured(path, monkeypatch, FIRST, NAMES).all
    results["runs"][FIRST]["versions"]["module-fast"] = f"{ROOT}/build/python/lib/libpython3.11.so.1.0"
    text = page(results, [])
    assert "build/python/lib" in text and str(pathlib.Path(ROOT)) not in text
