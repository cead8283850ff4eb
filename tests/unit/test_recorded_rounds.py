"""How good the verdict of a comparison is, on recorded rounds: it does not cry wolf, and it finds what is slower.

recorded_rounds.json has the rounds of real runs, in microseconds: a series that was recorded within the hour by
tests/kernel/recording.py on a virtual machine with two processors, whole. Its kinds say what else the machine did:
nothing of ours (`quiet`, though others worked on it now and then), or what kept one processor busy, or both. Besides
what `make bench-compare` measures, each run has the same starts slowed down by a quarter. Any three runs are taken for
a stored one, one of now and its repetition, in every order.

The rules of harness/bench/comparison.py were chosen, with their figures, on 69 runs that had been recorded before, of
an older runtime, and are not in this file. After the first 14 of these runs one rule was taken away, and SCATTER made
to do its work by the figure that the earlier runs ask for. The rest was recorded afterwards, and is tested by itself.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from harness.bench import baseline, comparison
from harness.bench.comparison import Verdict
from harness.bench.series import Benchmark, Round, Section, Series, Settings

RUNS: Sequence[Mapping[str, Any]] = json.loads(Path(__file__).with_name("recorded_rounds.json").read_text())
ALL = range(len(RUNS))
AFTERWARDS = ALL[14:]
QUIET = [index for index in ALL if RUNS[index]["kind"] == "quiet"]
SLOWED = "+25%"  # what the labels of starts that were slowed down end in
ALARMS = 0.01  # the most of all verdicts on unchanged code
Verdicts = Mapping[tuple[int, int, int], Mapping[str, Verdict]]


def benchmark(run: Mapping[str, Any], suffix: str) -> Benchmark:
    """Return a recorded run; with a suffix the starts of this one have the places of the usual ones."""
    rounds = run["rounds"]
    series = {label: Series() for label in rounds if not label.endswith(SLOWED)}
    for label, found in series.items():
        for time in rounds.get(label + suffix, rounds[label]):
            found.add("it failed" if time is None else Round(1000 * time, 1000 * time))
    return Benchmark("", 0, {}, Settings(100, 5, 5), {}, {baseline.NAME: Section("", "", series)})


def compared(suffix: str = "") -> Verdicts:
    """Return what is said of all triples: a run then, one of now, and its repetition."""
    then, now = ([benchmark(run, words) for run in RUNS] for words in ("", suffix))
    known = {(id(one), id(other)): comparison.judged(one, other) for one in then for other in now}
    with pytest.MonkeyPatch.context() as patch:  # for each pair is part of many triples
        patch.setattr(comparison, "judged", lambda one, other: known[id(one), id(other)])
        found = {}
        for one, two, three in permutations(ALL, 3):
            findings = comparison.compare(then[one], now[two], lambda again=now[three]: again)  # type: ignore[misc]
            found[one, two, three] = {finding.label: finding.verdict for finding in findings}
    return found


def counted(
    verdicts: Verdicts, runs: Sequence[int] = ALL, labels: Sequence[str] = tuple(baseline.HELD)
) -> Counter[Verdict]:
    """Return how often each verdict is given where only these runs are there."""
    among = set(runs)
    return Counter(told[label] for triple, told in verdicts.items() if among.issuperset(triple) for label in labels)


def alarms(counts: Counter[Verdict]) -> float:
    """Return the share of verdicts that say that something has changed."""
    return (counts[Verdict.SLOWER] + counts[Verdict.FASTER]) / (counts.total() - counts[Verdict.NONE])


def given(counts: Counter[Verdict]) -> float:
    """Return the share of cases in which there is a verdict."""
    return 1 - counts[Verdict.NONE] / counts.total()


def halves() -> list[list[int]]:
    """Return the runs halved by chance, again and again."""
    shuffled = [random.Random(seed).sample(ALL, len(ALL)) for seed in range(10)]
    return [half for runs in shuffled for half in (sorted(runs[::2]), sorted(runs[1::2]))]


@pytest.fixture(scope="module")
def unchanged() -> Verdicts:
    """Return what is said where nothing has changed."""
    return compared()


@pytest.fixture(scope="module")
def slower() -> Verdicts:
    """Return what is said where everything has become slower by a quarter."""
    return compared(SLOWED)


@pytest.mark.parametrize("label", baseline.HELD)
def test_unchanged_code_alarms_at_most_once_in_a_hundred(label: str, unchanged: Verdicts) -> None:
    assert alarms(counted(unchanged, labels=[label])) <= ALARMS


@pytest.mark.parametrize("label", baseline.HELD)
def test_a_slowdown_by_a_quarter_is_found_whenever_there_is_a_verdict(label: str, slower: Verdicts) -> None:
    counts = counted(slower, labels=[label])
    assert counts[Verdict.SLOWER] > 0
    assert counts.keys() <= {Verdict.SLOWER, Verdict.NONE}


@pytest.mark.parametrize("runs", [AFTERWARDS, *halves()], ids=str)
def test_the_same_holds_for_parts_of_the_runs(runs: Sequence[int], unchanged: Verdicts, slower: Verdicts) -> None:
    assert alarms(counted(unchanged, runs)) <= ALARMS
    counts = counted(slower, runs)
    assert counts[Verdict.SLOWER] > 0
    assert counts.keys() <= {Verdict.SLOWER, Verdict.NONE}


def test_there_is_a_verdict_nearly_always_where_it_is_quiet_and_often_elsewhere(
    unchanged: Verdicts, slower: Verdicts
) -> None:
    for verdicts, elsewhere in ((unchanged, 1 / 2), (slower, 1 / 3)):  # an alarm takes two measurements
        assert given(counted(verdicts, QUIET)) > 0.9
        assert given(counted(verdicts)) > elsewhere


def test_without_a_second_measurement_there_are_more_alarms(
    unchanged: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "confirmed", lambda first, second: first)
    assert alarms(counted(compared())) > 2 * alarms(counted(unchanged))


def test_without_the_yardstick_there_are_too_many_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_held(run: Benchmark, label: str) -> list[int]:
        return run.sections[baseline.NAME].series[label].values("first")

    monkeypatch.setattr(comparison, "held_rounds", not_held)
    assert alarms(counted(compared())) > ALARMS
    assert counted(compared(SLOWED))[Verdict.SAME] > 0


def test_with_verdicts_on_a_busy_machine_there_are_too_many_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "SCATTER", 100)
    assert alarms(counted(compared())) > ALARMS
    assert counted(compared(SLOWED))[Verdict.SAME] > 0
