"""The phases of a start: what is added to a plan, what is read from its table, and the arithmetic."""

import ctypes
import time

from harness import elf
from harness.bench import alive, phases
from harness.bench.series import Round, Section, Series
from harness.runtime import stub
from harness.runtime.config import read
from harness.runtime.plan import plan
from harness.runtime.spec import example
from harness.runtime.step import Call, Host, Plan, Step
from harness.runtime.syscalls import CLONE
from harness.runtime.table import Table


def step(name: str) -> Step:
    return Step(name, "test", (Call("setsid", ()), Call("setsid", ())))


def made_up(*names: str) -> Plan:
    return Plan(CLONE(0), tuple(step(name) for name in names))


def test_the_clock_is_read_before_the_first_step_and_after_each_but_the_last() -> None:
    found = phases.stamped(made_up("one", "two", "execute"))
    assert [step.name for step in found.steps] == ["stamp:clone", "one", "stamp:one", "two", "stamp:two", "execute"]
    stamps = [step for step in found.steps if step.name.startswith("stamp:")]
    assert [[call.name for call in step.calls] for step in stamps] == [["clock_gettime"]] * 3


def test_no_plan_has_clock_readings_by_itself() -> None:
    whole = plan(read(example(0, 0)), Host("isoproof-1", "/r", kernel=(6, 18)))
    calls = [call.name for step in whole.steps for call in step.calls]
    assert calls
    assert "clock_gettime" not in calls
    assert len(phases.stamped(whole).steps) == 2 * len(whole.steps)


def test_what_was_read_is_found_in_the_table() -> None:
    table = Table(phases.stamped(made_up("one", "two", "execute")).steps)
    buffers = []
    for index, (_, call) in enumerate(table.calls):
        if call.name == "clock_gettime":
            clock, address = table.words[stub.ENTRY * index + 1], table.words[stub.ENTRY * index + 2]
            assert clock == time.CLOCK_MONOTONIC
            buffers.append((ctypes.c_char * elf.TIMESPEC.size).from_address(address))
    for second, buffer in enumerate(buffers, start=5):
        buffer.raw = elf.TIMESPEC.pack(second, 7)
    assert list(phases.readings(table)) == [("clone", 5_000_000_007), ("one", 6_000_000_007), ("two", 7_000_000_007)]


def test_the_phases_are_the_time_between_two_readings_and_together_the_whole() -> None:
    readings = [("clone", 130), ("one", 131), ("two", 151)]
    found = phases.durations(100, 110, readings, 200)
    assert found == {
        "request to clone": 10,
        "clone": 20,
        "one": 1,
        "two": 20,
        "execve to first instruction": 49,
    }
    assert list(found) == phases.labels(made_up("one", "two", "execute"))
    assert sum(found.values()) == 100


def test_steps_of_one_name_are_one_phase() -> None:
    readings = [("clone", 10), ("mount:/a", 11), ("other", 13), ("mount:/a", 17)]
    found = phases.durations(0, 5, readings, 20)
    assert found["mount:/a"] == 5
    assert sum(found.values()) == 20
    labels = phases.labels(made_up("mount:/a", "other", "mount:/a", "execute"))
    assert labels == list(found)


def test_each_start_has_its_own_phases_and_a_failed_one_none() -> None:
    starts = Series([Round(30), None, Round(7)], [(1, "it has failed")])
    warmed_up = {"clone": 1000, "one": 1000}
    found = phases.by_phase(["clone", "one"], starts, [warmed_up, {"clone": 10, "one": 20}, {"clone": 3, "one": 4}])
    assert found["clone"].rounds == [Round(first=10), None, Round(first=3)]
    assert found["one"].rounds == [Round(first=20), None, Round(first=4)]
    assert found["clone"].failures == found["one"].failures == [(1, "it has failed")]


def series(**milliseconds: list[int]) -> dict[str, Series]:
    return {label: Series([Round(first=one * 1_000_000) for one in several]) for label, several in milliseconds.items()}


def test_the_words_say_what_the_clock_readings_cost() -> None:
    found = series(clone=[1, 2, 9], one=[9, 2, 1]) | {phases.WHOLE: Series([Round(first=5_000_000)] * 3)}
    *_, last = phases.words(found)
    assert last == ("The phases of a start add up to 10.00 ms (median), 2.00 times a start without the clock readings.")


def test_where_all_starts_have_failed_nothing_is_said_of_them() -> None:
    failed = Series([None], [(0, "why")])
    assert len(phases.words({"clone": failed, phases.WHOLE: failed})) == 1


def test_the_phase_that_grows_most_comes_first() -> None:
    before = series(clone=[5], one=[1], two=[3]) | {phases.WHOLE: Series([Round(first=1)])}
    after = series(clone=[5], one=[8], two=[2]) | {phases.WHOLE: Series([Round(first=9)])}
    assert phases.growth(before, after) == {"one": 7, "clone": 0, "two": -1}
    assert phases.growth(before, {}) == {}


def test_only_steps_that_take_longer_are_said_to_do_so() -> None:
    before, after = series(clone=[90], one=[5], two=[3]), series(clone=[10], one=[4], two=[5])
    assert alive.steps_that_grow(before, after) == [
        "The steps of a start of ours that take longer among the most: two (+2.00 ms)."
    ]
    assert alive.steps_that_grow(after, after) == alive.steps_that_grow({}, {}) == []


def test_what_each_step_took_is_told_under_the_name_that_it_has_in_a_plan() -> None:
    rounds = {"request to clone": 5, "clone": 600, "hostname": 2, "execve to first instruction": 100, phases.WHOLE: 700}
    series = {name: Series([Round(first=value * 1000)] * 3) for name, value in rounds.items()}
    sections = {phases.NAME: Section("Phases", "Which?", {**series, "failed": Series([None], [(0, "it failed")])})}
    assert phases.step_times(sections) == {"clone": 600.0, "hostname": 2.0, "execute": 100.0}
    whole = plan(read(example(0, 0)), Host("isoproof-1", "/r", kernel=(6, 18)))
    assert whole.steps[-1].name == phases.EXECUTE
    assert phases.step_times({}) == {}
