"""The shape of reports/benchmark.json: what is written is read again, and what is broken is told in a line."""

import json
from typing import Any

import pytest

from harness.bench.series import Benchmark, Contender, Round, Section, Series, Settings, from_json, to_json
from harness.errors import BadInput


def benchmark() -> Benchmark:
    series = Series()
    for number in range(1, 5):
        series.add(Round(number * 1_000_000, number * 2_000_000, 500_000, 1024))
    series.add("runc: no such thing")
    return Benchmark(
        started="2026-01-01T00:00:00+00:00",
        seconds=1.5,
        environment={"kernel": [6, 1], "load": [0.5, 0.75]},
        settings=Settings(rounds=5, gap_ms=5, warmup=0),
        contenders={
            "runc": Contender("the reference", "1.1", "runc run"),
            "crun": Contender("in C", "", absent="it is not installed"),
        },
        sections={
            "runtimes": Section("Runtimes", "Who is the fastest?", {"runc": series}),
            "pool": Section("Pool", "What does it cost?", {"fill": Series([Round(clean=1)])}),
        },
    )


def test_what_is_written_is_read_again() -> None:
    assert from_json(to_json(benchmark())) == benchmark()


def test_a_series_tells_its_figures_and_its_failures() -> None:
    told = json.loads(to_json(benchmark()))
    assert told["format"] == 2
    assert told["settings"] == {"rounds": 5, "gap_ms": 5, "warmup": 0}
    assert told["contenders"]["crun"] == {
        "what": "in C",
        "version": "",
        "command": "",
        "absent": "it is not installed",
    }
    series = told["sections"]["runtimes"]["series"]["runc"]
    assert series["first_ms"] == {"min": 1, "p50": 2, "p90": 4, "p95": 4, "p99": 4, "max": 4}
    assert series["clean_ms"]["max"] == 8
    assert series["cpu_ms"]["p50"] == 0.5
    assert series["memory_kib"]["p50"] == 1024
    assert series["failed"] == 0.2
    assert series["failures"] == [[4, "runc: no such thing"]]
    assert series["rounds"][0] == {"first": 1_000_000, "clean": 2_000_000, "cpu": 500_000, "memory": 1024}
    assert series["rounds"][4] is None


def test_what_was_not_measured_has_no_figures() -> None:
    series = json.loads(to_json(benchmark()))["sections"]["pool"]["series"]["fill"]
    assert (series["first_ms"], series["cpu_ms"], series["memory_kib"], series["failed"]) == (None, None, None, 0)
    assert series["clean_ms"]["p50"] == 1e-6


def test_a_failed_round_enters_no_figure() -> None:
    series = Series([Round(10, 20), None], [(1, "it hung")])
    assert series.values("first") == [10]
    assert Series([None], [(0, "it hung")]).summary("first") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told | {"format": 1}, "benchmark format 1 is not 2; measure again with this isoproof"),
        (lambda told: told | {"format": 3}, "benchmark format 3 is not 2; a newer isoproof has written it: read it"),
        (lambda told: {}, "benchmark format None is not 2"),
        (lambda told: told | {"sections": []}, "not a benchmark of isoproof: Expected `object`, got `array`"),
        (lambda told: told | {"contenders": {"runc": {}}}, "missing required field `what`"),
        (lambda told: told | {"sections": {"s": {"title": "", "question": "", "series": {"x": 1}}}}, "got `int`"),
    ],
)
def test_a_foreign_file_is_told_in_one_line(change: Any, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        from_json(json.dumps(change(json.loads(to_json(benchmark())))), "old.json")
    assert str(caught.value).startswith("old.json: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"null", '{"format": 2', b"[" * 100_000])
def test_a_broken_file_is_told_in_one_line(text: bytes) -> None:
    with pytest.raises(BadInput, match=r"\Aold.json: not a benchmark of isoproof: .*\Z"):
        from_json(text, "old.json")


@pytest.mark.parametrize(
    "rounds",
    [[{"first": -1}], [{"first": 1.5}], [{"fist": 1}], [None], [{"first": 1}, None]],
)
def test_rounds_that_cannot_be_are_refused(rounds: list[Any]) -> None:
    told = json.loads(to_json(benchmark()))
    told["sections"]["runtimes"]["series"]["runc"] |= {"rounds": rounds, "failures": []}
    with pytest.raises(BadInput, match="not a benchmark of isoproof"):
        from_json(json.dumps(told))
