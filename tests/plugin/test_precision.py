"""--precision: knobs as items, what they are recorded to turn red, and what is said where they do otherwise."""

import json
from typing import Any

import pytest

from harness import environment, precision
from tests.plugin.project import GOOD, Project, check

pytest_plugins = ["pytester"]

KIND = precision.machine(environment.facts())
RECORD = precision.RECORD


@pytest.fixture
def recorded(project: Project) -> Project:
    """A project with an area in which three checks share a container, and one with a single check; it is recorded."""
    shared = check("uts-b") + check("uts-c")
    project.write("scenarios/uts.yaml", GOOD + shared + check("uts-two", "cell-2", sabotage="skip-ns=uts"))
    project.write("scenarios/net.yaml", GOOD.replace("uts-name", "net-a").replace("no-sethostname", "lo-down"))
    project.run("--precision=record").assert_outcomes(passed=13)
    return project


def record(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project.path / RECORD).read_text())
    return content


def test_what_knobs_turn_red_is_recorded_and_reported(recorded: Project) -> None:
    area = {"red": ["uts-b", "uts-c", "uts-name", "uts-two"]}
    other = {"red": ["net-a", "uts-b", "uts-c", "uts-name"]}
    assert record(recorded) == {KIND: {"lo-down": other, "no-sethostname": area, "skip-ns=uts": area}}
    reaches = {reach.sabotage: reach for reach in recorded.results().reaches}
    assert (reaches["skip-ns=uts"].own_red(), reaches["skip-ns=uts"].others_red()) == (
        ["uts-two"],
        ["uts-name", "uts-b", "uts-c"],
    )


def test_what_is_as_recorded_passes(recorded: Project) -> None:
    run = recorded.run("--precision=compare", "-v")
    run.assert_outcomes(passed=13)
    run.stdout.fnmatch_lines(["scenarios/uts.yaml::precision[[]builtin-skip-ns=uts[]] PASSED*"])
    run.stdout.fnmatch_lines(["  skip-ns=uts: uts-two; others: uts-name, uts-b, uts-c"])


def test_a_knob_that_turns_others_red_than_recorded_fails(recorded: Project) -> None:
    changed = record(recorded)
    changed[KIND]["skip-ns=uts"]["red"].remove("uts-b")
    changed[KIND]["lo-down"]["red"].append("uts-two")  # which it is not tried on
    del changed[KIND]["no-sethostname"]
    recorded.write(RECORD, json.dumps(changed))
    run = recorded.run("--precision=compare")
    run.assert_outcomes(passed=11, failed=2)
    run.stdout.fnmatch_lines(["scenarios/uts.yaml:4: no-sethostname: *", "  nothing is recorded for no-sethostname"])
    run.stdout.fnmatch_lines(
        [
            "scenarios/uts.yaml:21: skip-ns=uts: it does something else than is recorded",
            f"  uts-b: red, but {RECORD} says green",
            "  on: Linux * uid * cgroup *",
            "  again: pytest 'scenarios/uts.yaml::precision[[]builtin-skip-ns=uts[]]' --precision=compare",
        ],
        consecutive=True,
    )
    run.stdout.no_fnmatch_line("*Traceback*")


def test_a_check_that_is_new_must_be_recorded(recorded: Project) -> None:
    recorded.write(
        "scenarios/uts.yaml",
        (recorded.path / "scenarios/uts.yaml").read_text() + check("uts-new", sabotage="skip-ns=uts"),
    )
    recorded.run("--precision=compare").assert_outcomes(passed=12, failed=3)
    recorded.run("--precision=record", "scenarios/uts.yaml").assert_outcomes(passed=12)
    assert record(recorded)[KIND]["skip-ns=uts"]["red"] == ["uts-b", "uts-c", "uts-name", "uts-new", "uts-two"]


def test_another_kind_of_machine_has_nothing_to_compare_with(recorded: Project) -> None:
    recorded.write(RECORD, json.dumps({"elsewhere": record(recorded)[KIND]}))
    run = recorded.run("--precision=compare", "-rs")
    run.assert_outcomes(passed=10, skipped=3)
    run.stdout.fnmatch_lines([f"SKIPPED*nothing is recorded for this kind of machine: {KIND}; the reports *"])
    assert len(recorded.results().reaches) == 3
    recorded.run("--precision=record")
    assert record(recorded).keys() == {KIND, "elsewhere"}


def test_a_record_that_cannot_be_read_is_one_line(recorded: Project) -> None:
    recorded.write(RECORD, "[]")
    run = recorded.run("--precision=compare")
    assert run.ret == 2
    run.stdout.fnmatch_lines([f"read *{RECORD}: *--precision=record"])
    run.stdout.no_fnmatch_line("*Traceback*")


def test_precision_is_for_our_own_runtime(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run("--precision=compare", "--runtime", "null")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["ERROR: --precision needs --runtime builtin*"])
