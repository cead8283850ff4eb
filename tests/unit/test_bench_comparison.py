"""The verdict of a comparison with a stored run, case by case; test_recorded_rounds.py shows how good it is."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from harness.bench import baseline, comparison
from harness.bench.comparison import Verdict
from harness.bench.series import Benchmark, Contender, Round, Section, Series, Settings
from harness.errors import BadInput

USUAL = {
    "builtin": 1_700,
    "builtin-pooled": 1_000,
    "builtin-forked": 7_000,
    "isoproof-run": 14_000,
    "isoproof-run-first": 90_000,
    "python": 12_000,
    "yardstick": 1_500,
}
MACHINE = {"cpu": "a", "cpus": 2, "machine": "x86_64", "release": "6.18", "uid": 0, "python": "3.11.7"}


def run(seed: int, count: int = 100, noise: float = 0.06, **factors: float) -> Benchmark:
    """Return a run in which some take longer than usual; `all` is the machine itself."""
    chance = random.Random(seed)
    machine = factors.pop("all", 1.0)
    series = {}
    for label, usual in USUAL.items():
        usual *= machine * factors.pop(label.replace("-", "_"), 1.0)  # type: ignore[assignment]
        times = [round(1000 * usual * chance.lognormvariate(0, noise)) for _ in range(count)]
        series[label] = Series([Round(None if label == "python" else time, time) for time in times])
    assert not factors
    sections = {baseline.NAME: Section("", "", series)}
    return Benchmark("2026", 1.0, dict(MACHINE), Settings(count, 5, 5), {}, sections)


def series(benchmark: Benchmark) -> dict[str, Series]:
    return benchmark.sections[baseline.NAME].series


def never() -> Benchmark:
    raise AssertionError("there was no need to measure again")


def verdicts(then: Benchmark, now: Benchmark, again: Callable[[], Benchmark] = never) -> dict[str, Verdict]:
    return {finding.label: finding.verdict for finding in comparison.compare(then, now, again)}


def reason(then: Benchmark, now: Benchmark, label: str) -> str:
    found = next(finding for finding in comparison.judged(then, now) if finding.label == label)
    assert found.verdict is Verdict.NONE
    assert found.held is None
    return found.reason


def test_a_run_does_not_differ_from_itself() -> None:
    found = comparison.compare(run(1), run(1), never)
    assert [finding.label for finding in found] == list(baseline.HELD)
    for finding in found:
        assert finding.verdict is Verdict.SAME
        assert finding.ratio == finding.held == 1
        assert finding.deviations == 0


def test_a_machine_that_has_become_slower_is_no_slowdown() -> None:
    found = comparison.compare(run(1), run(2, all=1.4), never)
    for finding in found:
        assert finding.verdict is Verdict.SAME
        assert finding.ratio == pytest.approx(1.4, rel=0.05)
        assert finding.held == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("label", baseline.HELD)
@pytest.mark.parametrize("machine", [0.7, 1, 1.4])
def test_what_is_slower_is_found_whatever_the_machine_does(label: str, machine: float) -> None:
    slower: dict[str, Any] = {"all": machine, label.replace("-", "_"): 1.25}
    measured = iter([run(3, **slower)])
    found = verdicts(run(1), run(2, **slower), lambda: next(measured))
    assert found.pop(label) is Verdict.SLOWER
    assert set(found.values()) == {Verdict.SAME}


def test_what_is_faster_is_told() -> None:
    found = verdicts(run(1), run(2, builtin=0.8), lambda: run(3, builtin=0.8))
    assert found["builtin"] is Verdict.FASTER


def test_little_is_no_difference() -> None:
    assert set(verdicts(run(1), run(2, builtin=1.05, builtin_pooled=0.95)).values()) == {Verdict.SAME}


@pytest.mark.parametrize("again", [1.0, 0.75])
def test_an_alarm_takes_two_measurements(again: float) -> None:
    found = verdicts(run(1), run(2, builtin=1.25), lambda: run(3, builtin=again))
    assert found["builtin"] is Verdict.SAME


def test_of_two_alarms_the_smaller_is_told() -> None:
    found = comparison.compare(run(1), run(2, builtin=1.5), lambda: run(3, builtin=1.3))
    assert found[0].held == pytest.approx(1.3, rel=0.05)


def test_medians_that_are_apart_by_chance_are_no_difference() -> None:
    def with_slow_rounds(count: int) -> Benchmark:
        found = run(1, noise=0)
        rounds = series(found)["builtin"].rounds
        rounds[:count] = [Round(1_950_000, 2_000_000)] * count
        return found

    few, many = with_slow_rounds(48), with_slow_rounds(52)
    for then, now, held in ((few, many, 1.95 / 1.7), (many, few, 1.7 / 1.95)):
        finding = comparison.judged(then, now)[0]
        assert finding.held == pytest.approx(held, rel=0.001)
        assert finding.verdict is Verdict.SAME


def test_a_busy_machine_gives_no_verdict() -> None:
    busy = run(2, noise=0.5, builtin=3)
    assert reason(run(1), busy, "builtin").startswith("now: the machine was too busy: a quarter of the rounds of ")
    assert set(verdicts(run(1), busy, lambda: busy).values()) == {Verdict.NONE}


def test_a_busy_machine_shows_in_the_yardstick() -> None:
    busy = run(2)
    for index, factor in enumerate([1.0, 1.8] * 50):
        first = series(busy)["yardstick"].values("first")[index]
        series(busy)["yardstick"].rounds[index] = Round(round(first * factor))
    words = "now: the machine was too busy: a quarter of the rounds of yardstick took "
    assert reason(run(1), busy, "isoproof-run").startswith(words)


def test_one_quiet_measurement_is_enough_to_be_at_rest_but_not_for_an_alarm() -> None:
    busy = run(2, noise=0.5)
    found = verdicts(run(1), busy, lambda: run(3, builtin=1.3))
    assert found.pop("builtin") is Verdict.NONE
    assert set(found.values()) == {Verdict.SAME}


def test_what_was_stored_on_a_busy_machine_is_not_measured_again() -> None:
    busy = run(1, noise=0.5)
    assert reason(busy, run(2), "builtin").startswith("then: the machine was too busy")
    assert set(verdicts(busy, run(2)).values()) == {Verdict.NONE}


def test_few_rounds_give_no_verdict() -> None:
    assert reason(run(1), run(2, count=49), "builtin") == "now: only 49 rounds of builtin, and it takes 50"
    assert comparison.judged(run(1), run(2, count=50))[0].verdict is Verdict.SAME


@pytest.mark.parametrize("label", ["builtin", "yardstick"])
def test_many_failures_give_no_verdict(label: str) -> None:
    def failing(count: int) -> Benchmark:
        found = run(2)
        for index in range(count):
            series(found)[label].rounds[index] = None
            series(found)[label].failures.append((index, "it hung"))
        return found

    assert reason(run(1), failing(6), "builtin") == f"now: 6% of the starts of {label} failed, the last: it hung"
    assert reason(failing(100), run(1), "builtin").startswith("then: 100% of")
    assert comparison.judged(run(1), failing(5))[0].verdict is Verdict.SAME


def test_who_is_absent_cannot_be_compared() -> None:
    absent = run(2)
    del series(absent)["builtin-pooled"]
    assert reason(run(1), absent, "builtin-pooled") == "now: builtin-pooled was not measured"
    absent.contenders["builtin-pooled"] = Contender("", "", absent="there is no pool")
    assert reason(absent, run(1), "builtin-pooled") == "then: builtin-pooled was not measured: there is no pool"
    assert "builtin-pooled" not in verdicts(absent, absent)


def test_without_the_yardstick_nothing_is_compared() -> None:
    without = run(2)
    del series(without)["yardstick"]
    assert reason(without, without, "builtin") == "then: yardstick was not measured"
    assert verdicts(without, without)["isoproof-run"] is Verdict.SAME


def test_rounds_are_held_against_the_yardstick_of_their_run() -> None:
    then = run(1, noise=0, all=2)
    series(then)["yardstick"].rounds[40:43] = [None] * 3
    assert comparison.held_rounds(then, "builtin") == [round(1_000_000 * 1_700 / 1_500)] * 100
    assert comparison.held_rounds(then, "isoproof-run") == [round(1_000_000 * 14_000 / 12_000)] * 100


@pytest.mark.parametrize("key", comparison.MACHINE)
def test_another_machine_is_refused(key: str) -> None:
    here: dict[str, Any] = dict.fromkeys(comparison.MACHINE, "this")
    comparison.check_machine(here, here | {"load": [1.0]}, "old.json")
    with pytest.raises(BadInput) as caught:
        comparison.check_machine(here | {key: "that"}, here, "old.json")
    words = f"its {comparison.MACHINE[key]} was 'that', and is 'this' here"
    assert str(caught.value).startswith(f"old.json: cannot be compared: {words}; ")
