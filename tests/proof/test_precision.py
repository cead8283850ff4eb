"""The record of what each knob turns red is whole; `make precision` holds the kernel to it."""

from pathlib import Path

import pytest

from harness import precision, sabotage, scenario
from harness.precision import Expected
from harness.sabotage import in_config, in_plan
from harness.scenario import Scenario

ROOT = Path(__file__).parent.parent.parent
RECORD = precision.read(ROOT / precision.RECORD)


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    return [scenario.load(path) for path in sorted((ROOT / "scenarios").glob("*.yaml"))]


@pytest.mark.parametrize("kind", RECORD)
def test_every_knob_is_recorded_and_nothing_else(kind: str, scenarios: list[Scenario]) -> None:
    knobs = precision.knobs(scenarios)
    missing = sorted(knobs.keys() - RECORD[kind].keys())
    assert not missing, f"not recorded, and to be recorded by make precision ARGS=--precision=record: {missing}"
    assert precision.renewed(RECORD, kind, [], scenarios) == RECORD, "names what does not exist, or is out of order"


@pytest.mark.parametrize("kind", RECORD)
def test_a_check_that_its_own_knob_does_not_turn_red_says_where_it_would(kind: str, scenarios: list[Scenario]) -> None:
    """Only one that this kind of machine does not always make, or cannot always turn red, may be missing."""
    for knob, checks in precision.knobs(scenarios).items():
        expected = RECORD[kind].get(knob, Expected())
        unshown = [check.name for check in checks if expected.of(check.name) != "red" and not excused(check)]
        assert not unshown, f"{knob} is to turn them red, and is not recorded to: {unshown}"


def excused(check: scenario.Check) -> bool:
    return bool(check.requires or check.provable)


def test_something_is_recorded() -> None:
    assert RECORD


def test_every_knob_is_turned_for_a_check(scenarios: list[Scenario]) -> None:
    turned = {sabotage._find(part)[1] for knob in precision.knobs(scenarios) for part in sabotage.parts(knob)}
    every = {function for package in (in_config, in_plan) for function in sabotage._knobs(package).values()}
    assert not sorted(function.__name__ for function in every - turned)
