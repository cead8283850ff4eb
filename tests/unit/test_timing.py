"""Where the time goes: what is counted sums to what has passed, and each moment belongs to one part."""

import itertools
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from harness import clock, timing
from harness.clock import Clock
from harness.timing import PARTS, SLOWEST, RunClock, Timing, merged, timing_from_text, timing_to_text


@pytest.fixture(autouse=True)
def tick(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Every look at the clock is a second later than the one before, the first at 100 seconds."""
    seconds = map(float, itertools.count(100))

    def monotonic() -> float:
        return next(seconds)

    for module in (clock, timing):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=monotonic))
    return monotonic


def total(times: Timing) -> float:
    sides = [times.session, *times.checks.values(), *times.proofs.values()]
    return sum(length for parts in sides for length in parts.values())


def launched(run: RunClock, checks: list[str], knob: str = "", **milliseconds: float) -> None:
    answer: dict[str, Any] = {"milliseconds": milliseconds}
    assert run.launch(checks, "builtin", knob, lambda: answer) is answer


def test_a_clock_counts_for_one_part_at_a_time() -> None:
    counted = Clock("a")  # at 100
    with counted.counting("b"):  # from 101
        with counted.counting("c"):  # from 102
            pass  # to 103
        counted.turn("d")  # at 104; the context ends at 105
    assert counted.milliseconds() == {"a": 2000, "b": 2000, "c": 1000, "d": 1000}  # asked at 106


def test_a_part_is_counted_although_it_ends_in_an_exception() -> None:
    counted = Clock("a")
    with pytest.raises(KeyboardInterrupt), counted.counting("b"):
        raise KeyboardInterrupt
    assert counted.milliseconds() == {"a": 2000, "b": 1000}


def test_a_clock_counts_from_when_it_is_told() -> None:
    assert Clock("a", since=90.0).milliseconds() == {"a": 10000}


def test_what_somebody_else_has_measured_is_handed_over() -> None:
    counted = Clock("launch", since=90.0)
    counted.turn("rest")
    counted.hand_over("launch", {"start": 4000, "probes": 5000})
    assert counted.milliseconds() == {"launch": 1000, "start": 4000, "probes": 5000, "rest": 1000}


def test_checks_proofs_and_session_are_counted_apart_and_sum_to_the_whole() -> None:
    run = RunClock(since=0.0)
    with run.session("collect"):
        pass
    for proof in (False, True):
        with run.item("uts", proof):
            with run.session("sandboxes"):
                pass
            with run.part("judge"):
                pass
    with run.item("net", False):
        pass
    times = run.timing()
    assert total(times) == times.milliseconds == (times.by_part()["rest"] + 1000 + 2 * 1000 + 2 * 1000)
    assert times.session.keys() == {"collect", "sandboxes", "rest"}
    assert times.checks.keys() == {"uts", "net"}
    assert times.checks["uts"] == times.proofs["uts"] == {"judge": 1000, "rest": 3000}


def test_a_launch_is_counted_by_the_host_roles_parts() -> None:
    run = RunClock()
    with run.item("uts", False):
        launched(run, ["uts-a", "uts-b"], start=300, probes=200)
    times = run.timing()
    assert times.checks["uts"]["start"] == 300
    assert times.checks["uts"]["exchange"] == 500
    assert total(times) == times.milliseconds
    [slowest] = times.slowest
    assert slowest.checks == ["uts-a", "uts-b"]
    assert sum(slowest.parts.values()) == slowest.milliseconds


def test_a_launch_without_an_answer_is_counted_too() -> None:
    def fail() -> dict[str, Any]:
        raise KeyboardInterrupt

    run = RunClock()
    with pytest.raises(KeyboardInterrupt), run.item("uts", True):
        run.launch(["uts-a"], "builtin", "skip-ns=uts", fail)
    assert run.timing().proofs["uts"]["exchange"] == 1000


def test_the_slowest_launches_of_checks_and_of_proofs_are_told(tick: Callable[[], float]) -> None:
    def take(seconds: int) -> dict[str, Any]:
        for _ in range(seconds):
            tick()
        return {}

    run = RunClock()
    for length in range(SLOWEST + 5):
        for knob in ("", "skip-ns=uts"):
            run.launch([f"uts-{length}"], "builtin", knob, partial(take, length))
    slowest = run.timing().slowest
    expected = [f"uts-{length}" for length in range(SLOWEST + 4, 4, -1)]
    assert [launch.checks[0] for launch in slowest if not launch.sabotage] == expected
    assert [launch.checks[0] for launch in slowest if launch.sabotage] == expected


def test_times_of_workers_are_added_up() -> None:
    timings = []
    for area in ("uts", "net"):
        run = RunClock()
        with run.item(area, False):
            launched(run, [f"{area}-a"], probes=100)
        with run.item("uts", True):
            launched(run, ["uts-a"], "skip-ns=uts", probes=100)
        timings.append(timing_from_text(timing_to_text(run.timing())))
    together = merged(timings)
    assert together.processes == 2
    assert together.milliseconds == total(together) == sum(each.milliseconds for each in timings)
    assert together.checks.keys() == {"uts", "net"}
    assert together.proofs["uts"]["probes"] == 200
    assert len(together.slowest) == 4


def test_parts_are_told_in_one_order() -> None:
    run = RunClock()
    for name in reversed(PARTS):
        with run.session(name):
            pass
    assert list(run.timing().by_part()) == list(PARTS)
