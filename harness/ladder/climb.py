"""Climbing: the checks are made at each rung, every container in an outer sandbox of its own.

A check takes part in the container that it is made for, from which is taken away what comes above the rung. To start
one takes longer than all checks in it, so those take part that others share a container with, and of a rung that none
of these is about one that is.
"""

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from msgspec.structs import replace

from harness import environment, verdict
from harness.errors import HarnessError
from harness.ladder.added import added
from harness.ladder.record import Climber, Example, Failures, Ladder, Outcome, ToldRung
from harness.ladder.rungs import RUNGS, Rung, taken_down
from harness.language import Known
from harness.launches import Case, Launches, Start, config, obstacle
from harness.results import printable
from harness.scenario import Check, Scenario

RUNTIME = "builtin"  # the one from which things can be taken away

Tell = Callable[[str], None]
Group = list[Check]  # the checks of one container
Found = tuple[Outcome, Failures, str]


def groups(scenarios: Iterable[Scenario]) -> list[Group]:
    """Return the checks that take part, by their containers; all of a container are made around the same bait."""
    by_container: dict[str, Group] = {}
    for check in (check for scenario in scenarios for check in scenario.checks):
        if not (check.alone or check.slow or check.twin):
            by_container.setdefault(_container(check), []).append(check)
    chosen = [group for group in by_container.values() if len(group) > 1]
    single = [group for group in by_container.values() if len(group) == 1]
    for rung in RUNGS:
        if not any(_is_about(check, rung) for group in chosen for check in group):
            chosen += [group for group in single if _is_about(group[0], rung)][:1]
    return [_around_the_same_bait(group) for group in chosen]


def climb(scenarios: list[Scenario], known: Known, start: Start, tell: Tell = lambda text: None) -> Ladder:
    """Make the checks at each rung; `start` makes an outer sandbox, for several threads at once."""
    begun, since = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    chosen = groups(scenarios)
    every = [check for group in chosen for check in group]
    hindered = {check.name: reason for check in every if (reason := _hindrance(check, known))}
    possible = [[check for check in group if check.name not in hindered] for group in chosen]
    found: dict[str, list[Found]] = {}
    threads, stop = ThreadPoolExecutor(environment.facts()["cpus"]), Event()
    try:
        for done in as_completed([threads.submit(_climbed, group, start, stop) for group in possible if group]):
            found |= done.result()
            tell(f"{len(found)} of {len(every) - len(hindered)} checks")
    finally:
        stop.set()
        threads.shutdown(cancel_futures=True)
    taking_part = {check.name for check in every}
    ladder = Ladder(
        environment=environment.facts(),
        started=begun,
        seconds=round(time.monotonic() - since, 3),
        containers=len(chosen),
        rungs=_rungs(scenarios),
        checks=[_climber(check, found[check.name]) for check in every if check.name in found],
        left_out=[each.name for scenario in scenarios for each in scenario.checks if each.name not in taking_part],
        skipped=hindered,
    )
    rungs = [replace(rung, example=_worst(ladder.open(at), at, found)) for at, rung in enumerate(ladder.rungs)]
    return replace(ladder, rungs=rungs)


def _container(check: Check) -> str:
    """Return what the containers of two checks must have in common, if one is to serve both."""
    return json.dumps([config(*check.base, check.container), check.container.as_dict().get("image")], sort_keys=True)


def _is_about(check: Check, rung: Rung) -> bool:
    return not set(check.sabotages).isdisjoint(rung.knobs)


def _around_the_same_bait(group: Group) -> Group:
    """Return the checks with the bait of all of them, if no two mean different ones by a name."""
    bait: dict[str, dict[str, object]] = {}
    for check in group:
        if any(bait.get(name, canary) != canary for name, canary in check.canaries.items()):
            return group
        bait |= check.canaries
    return [replace(check, canaries=bait) for check in group]


def _hindrance(check: Check, known: Known) -> str:
    """Return why a check is not made here, or why no rung could be said to make it hold; nothing if it is made."""
    found = obstacle(Case(check, RUNTIME), known) or verdict.unprovable(check, environment.facts())
    return found.reason if found else ""


def _climbed(group: Group, start: Start, stop: Event) -> dict[str, list[Found]]:
    """Make the checks of one container at each rung, unless somebody has interrupted it meanwhile."""
    rungs = [" + ".join(knobs) for knobs in taken_down(config(*group[0].base, group[0].container))]
    launches = Launches(start, [Case(check, RUNTIME, knobs) for knobs in rungs for check in group])
    found: dict[str, list[Found]] = {check.name: [] for check in group}
    try:
        for knobs in rungs:
            for check in group:
                if not stop.is_set():
                    found[check.name].append(_judged(Case(check, RUNTIME, knobs), launches))
    finally:
        launches.close()
    return found


def _judged(case: Case, launches: Launches) -> Found:
    """Return what became of a check, and what shows that it fails, or why there is no verdict on it."""
    try:
        (answer,) = launches.answers(case)
    except HarnessError as error:
        return "error", [], printable(str(error))
    if answer.get("unfit"):
        return "error", [], printable(answer["unfit"])
    judged = verdict.judge(case.check, answer, environment.facts())
    outcome: Outcome = "error" if judged.outcome == "skip" else judged.outcome  # what is skipped was not to be made
    return outcome, judged.failures, printable(judged.reason)


def _climber(check: Check, found: list[Found]) -> Climber:
    reason = next((reason for outcome, _, reason in found if outcome == "error"), "")
    return Climber(
        name=check.name,
        area=_area(check.path),
        path=check.path,
        line=check.line,
        claim=check.claim,
        severity=check.severity,
        outcomes=[outcome for outcome, *_ in found],
        reason=reason,
    )


def _area(path: str) -> str:
    return Path(path).stem


def _worst(still_open: Iterable[Climber], rung: int, found: dict[str, list[Found]]) -> Example | None:
    """Return the worst check that a verdict has shown to fail; one without a verdict shows nothing."""
    for check in still_open:
        outcome, failures, _ = found[check.name][rung]
        if outcome == "fail":
            return Example(check.name, failures)
    return None


def _rungs(scenarios: Iterable[Scenario]) -> list[ToldRung]:
    """Return what is to be told of each rung, still without examples."""
    about = {_area(scenario.path): scenario for scenario in scenarios}
    told = []
    for rung, (flags, steps) in zip(RUNGS, added(), strict=True):
        area = about.get(rung.name)
        told.append(
            ToldRung(
                name=rung.name,
                feature=rung.feature,
                page=rung.page,
                title=rung.title or (area.title if area else rung.feature),
                why=rung.why or (area.why or "" if area else ""),
                knobs=list(rung.knobs),
                flags=str(flags) if flags else "",
                steps=steps,
            )
        )
    return told
