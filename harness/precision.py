"""Precision: a knob turns exactly those checks red that it is recorded to turn red, and no other.

A check's own knobs prove it. Here each knob is turned under checks that do not name it, too: under all checks of the
areas that use it, and in every other area under those in the container that most of them share, if several do. So what
else it takes away shows in the containers that it was made for, and in the ordinary ones; to turn it in all would take
four times as long.

What is to be expected stands in tests/proof/expected.json, for each kind of machine by itself: a container of an
ordinary user, or one on version 2 cgroups, is made of other parts, and the same knob takes others away. A check that is
skipped is not compared, nor is one in whose container a knob finds nothing to break.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from harness import sabotage, verdict
from harness.errors import BadInput, HarnessError
from harness.language import Known
from harness.launches import Answer, Case, Launches, config, obstacle
from harness.results import Reach
from harness.scenario import Check, Scenario

RUNTIME = "builtin"  # the one on which every knob can be turned
RECORD = "tests/proof/expected.json"
ORDINARY = 3  # checks that share a container; fewer have one that is made for something special, and cost as much

State = Literal["red", "error", "green"]


class Expected(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a knob is to do: the checks that go red, and those that are left without a verdict; all others stay green.

    `sometimes` are those that do not always do the same. Only a hand puts a check there, with the reason in its commit.
    """

    red: list[str] = []
    error: list[str] = []
    sometimes: list[str] = []

    def of(self, check: str) -> str:
        return next((state for state in ("sometimes", "red", "error") if check in getattr(self, state)), "green")


Record = dict[str, dict[str, Expected]]  # by kind of machine, by knob


def machine(facts: Mapping[str, Any]) -> str:
    """The kind of a machine, by what containers are made of there."""
    return f"{'an ordinary user' if facts['rootless'] else 'root'}, cgroup version {facts['cgroup']['memory']}"


def knobs(scenarios: Iterable[Scenario]) -> dict[str, list[Check]]:
    """Every knob, and the checks that name it."""
    found: dict[str, list[Check]] = {}
    for check in (check for scenario in scenarios for check in scenario.checks):
        for knob in check.sabotages:
            found.setdefault(knob, []).append(check)
    return found


def reach(knob: str, scenarios: Iterable[Scenario], known: Known, launches: Launches) -> Reach:
    """Turn a knob under checks, and return what became of them."""
    own, skipped = [], []
    seen: dict[State, list[str]] = {"red": [], "error": [], "green": []}
    for scenario in scenarios:
        own += [check.name for check in scenario.checks if knob in check.sabotages]
        cases = [Case(check, RUNTIME, knob) for check in _chosen(knob, scenario.checks)]
        hindered = [case for case in cases if obstacle(case, known)]
        skipped += [case.check.name for case in hindered]
        for name, state in states([case for case in cases if case not in hindered], launches):
            seen[state].append(name)
    return Reach(knob, own, skipped=skipped, **seen)


def states(cases: Iterable[Case], launches: Launches) -> Iterator[tuple[str, State]]:
    """What became of each check under its knob; nothing of those in whose container it finds nothing to break."""
    for case, answers in launches.together([case for case in cases if _fits(case)]):
        if state := _state(case.check, answers):
            yield case.check.name, state


def deviations(reach: Reach, record: Mapping[str, Expected]) -> list[str]:
    """What a knob did otherwise than recorded, a sentence for each check."""
    if reach.sabotage not in record:
        return [f"nothing is recorded for {reach.sabotage}"]
    expected = record[reach.sabotage]
    return [
        f"{check}: {state}, but {RECORD} says {expected.of(check)}"
        for state, checks in (("red", reach.red), ("error", reach.error), ("green", reach.green))
        for check in checks
        if expected.of(check) not in (state, "sometimes")
    ]


def read(path: Path) -> Record:
    """The record in a file; nothing is recorded where there is none. Raises BadInput."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise BadInput(f"read {path}: {error}; remove it, and write it anew by --precision=record") from None


def renewed(record: Record, kind: str, reaches: Iterable[Reach], scenarios: Iterable[Scenario]) -> Record:
    """A record with what was found on a kind of machine; what does not exist any more is taken out of all kinds.

    What is recorded of checks that were skipped stays, and so does what happens only sometimes.
    """
    known = knobs(scenarios := list(scenarios))
    checks = {check.name for scenario in scenarios for check in scenario.checks}
    found = {**record.get(kind, {})}
    for each in reaches:
        before = found.get(each.sabotage, Expected())
        found[each.sabotage] = Expected(
            red=[*each.red, *(check for check in before.red if check in each.skipped)],
            error=[*each.error, *(check for check in before.error if check in each.skipped)],
            sometimes=before.sometimes,
        )
    return {
        kind: {knob: _tidied(expected, checks) for knob, expected in sorted(by_knob.items()) if knob in known}
        for kind, by_knob in sorted({**record, kind: found}.items())
    }


def write(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def _tidied(expected: Expected, checks: set[str]) -> Expected:
    sometimes = sorted(checks & set(expected.sometimes))
    red, error = (sorted(checks & set(names) - set(sometimes)) for names in (expected.red, expected.error))
    return Expected(red, error, sometimes)


def _chosen(knob: str, checks: list[Check]) -> list[Check]:
    """The checks of an area under which a knob is turned."""
    if any(knob in check.sabotages for check in checks):
        return checks
    groups: dict[str, list[Check]] = {}
    for check in checks:
        if not check.alone:
            request = json.dumps(Case(check, RUNTIME).request(check.container), sort_keys=True)
            groups.setdefault(request, []).append(check)
    return max((group for group in groups.values() if len(group) >= ORDINARY), key=len, default=[])


def _fits(case: Case) -> bool:
    """Whether a knob may find something to break; only the launcher knows where a config refers to what is not yet."""
    asked = config(*case.check.base, case.check.container)
    return '"canary.' in json.dumps(asked) or sabotage.fits(case.knob, asked)


def _state(check: Check, answers: tuple[Answer, ...] | HarnessError) -> State | None:
    """What became of a check; None where the sabotaged container is none, so that nothing can be said of it."""
    if isinstance(answers, HarnessError):
        return "error"
    must_run = answers[-1]
    if any(answer.get("unfit") for answer in answers) or must_run.get("start", {}).get("refused"):
        return None
    states: dict[str, State] = {"proven": "red", "unproven": "green", "error": "error"}
    return states[verdict.prove(check, *answers).outcome]
