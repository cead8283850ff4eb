"""What the checks of scenarios are about, as results keep it: a reader of a report has no scenario at hand."""

from collections.abc import Iterable
from pathlib import Path

from harness import sabotage
from harness.results import About, Area
from harness.scenario import Check, Scenario


def of(scenarios: Iterable[Scenario], names: set[str]) -> dict[str, Area]:
    """Each area with those of its checks that are named; by the name of the area, which is that of its file."""
    return {
        Path(scenario.path).stem: Area(
            scenario.title,
            scenario.why or "",
            {check.name: _about(check) for check in scenario.checks if check.name in names},
        )
        for scenario in scenarios
    }


def _about(check: Check) -> About:
    return About(
        why=check.why or "",
        expect=[expectation.text for expectation in check.expect],
        sabotages={knob: sabotage.purpose(knob) for knob in check.sabotages},
        see=check.see,
        also=check.also,
    )
