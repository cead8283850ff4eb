"""Precision: a knob turns exactly those checks red that it is recorded to turn red, and no other.

A check's own knobs prove it. Here each knob is turned under checks that do not name it, too: under all checks of the
areas where one does, and in every other area under those that share the container which most of them share. That is a
tenth of all pairs, and the tenth that tells: what else a knob takes away shows in the containers that it was made for, or
in the ordinary ones.

Which checks go red is written down in tests/proof/expected.json, apart for each kind of machine, because a rootless
container or a version 1 cgroup is made of other parts. A check that is skipped here is not compared, nor is one in whose
container a knob finds nothing to break.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness import sabotage, verdict
from harness.errors import HarnessError
from harness.launches import Case, Launches, config
from harness.results import Reach
from harness.scenario import Check

RUNTIME = "builtin"  # the one on which every knob can be turned


def cases(knob: str, checks: list[Check]) -> list[Case]:
    """Under which checks of an area a knob is tried."""
    if not any(knob in check.sabotages for check in checks):
        checks = _most_shared(checks)
    return [Case(check, RUNTIME, knob) for check in checks if _fits(knob, check)]


def reach(knob: str, launches: Launches, tried: list[Case]) -> Reach:
    """Try a knob under checks, and return what became of them."""
    seen: dict[str, list[str]] = {"proven": [], "error": [], "unproven": []}
    for case, answers in launches.together(tried):
        if isinstance(answers, HarnessError):
            seen["error"].append(case.check.name)
        elif not answers[0].get("unfit"):
            seen[verdict.prove(case.check, *answers).outcome].append(case.check.name)
    return Reach(knob, red=seen["proven"], error=seen["error"], green=seen["unproven"])


def _most_shared(checks: list[Check]) -> list[Check]:
    """The checks whose container most checks share."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        if not check.alone:
            groups.setdefault(json.dumps(Case(check, RUNTIME).request(check.container), sort_keys=True), []).append(check)
    return max(groups.values(), key=len, default=[])


def _fits(knob: str, check: Check) -> bool:
    """Whether the knob finds something to break in the config; for the plan its launcher says so."""
    try:
        sabotage.sabotaged_config([knob], config(check.container))
    except sabotage.Unfit:
        return False
    return True
