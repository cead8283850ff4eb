"""Where the time of a start goes: a plan that reads the clock after each of its steps.

The readings are calls of the plan like others, so the child makes them by itself, and they lie in its table until the
next start. They are in no plan but the one that is made here. clock_gettime(2)
"""

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from harness import elf, latency
from harness.bench.series import Round, Section, Series
from harness.bench.starts import Clock
from harness.bench.turns import GAP, NOT_REPLAYED, ROUNDS, Tell, bundle, counted, fill, outcome_of, starting
from harness.errors import IsoproofError
from harness.runtime import launch, stub
from harness.runtime.config import read
from harness.runtime.launch import Prepared
from harness.runtime.pool import split
from harness.runtime.replay import Child
from harness.runtime.step import Call, Packed, Plan, Step
from harness.runtime.table import Table

CLOCK_MONOTONIC = 1
STAMP = "stamp:"
FIRST, CLONE, LAST = "request to clone", "clone", "execve to first instruction"
WHOLE = "a start without the clock readings"

Phases = dict[str, int]  # how long each took, in nanoseconds


def stamped(plan: Plan) -> Plan:
    """Return a plan that reads the clock when the child begins and after each step but the last, which is execve(2)."""
    *steps, last = plan.steps
    return replace(plan, steps=(_stamp(CLONE), *(both for step in steps for both in (step, _stamp(step.name))), last))


def _stamp(name: str) -> Step:
    reading = Call("clock_gettime", (CLOCK_MONOTONIC, Packed(bytes(elf.TIMESPEC.size), "what time it is")))
    return Step(f"{STAMP}{name}", "to know how long it has taken: clock_gettime(2)", (reading,))


def readings(table: Table) -> Iterator[tuple[str, int]]:
    """Return what the latest walk has read: the name of the step that was over, and the time in nanoseconds."""
    for index, (step, _) in enumerate(table.calls):
        if step.name.startswith(STAMP):
            address = table.words[stub.ENTRY * index + 2]  # the second argument
            yield step.name.removeprefix(STAMP), elf.nanoseconds(ctypes.string_at(address, elf.TIMESPEC.size))


def durations(requested: int, cloned: int, read: Iterable[tuple[str, int]], first: int) -> Phases:
    """Return how long each phase of a start took.

    Given are the times of the request, of clone3(2), at the end of each step, and of the first instruction.
    """
    before, found = requested, Phases()
    for name, moment in ((FIRST, cloned), *read, (LAST, first)):
        found[name] = found.get(name, 0) + moment - before
        before = moment
    return found


def labels(plan: Plan) -> list[str]:
    """Return the names of the phases of a plan, in their order."""
    return list(durations(0, 0, [(name, 0) for name in (CLONE, *(step.name for step in plan.steps[:-1]))], 0))


@contextlib.contextmanager
def clocked(container: Prepared, clock: Clock) -> Iterator[Callable[[], Phases]]:
    """Yield what starts a container that is replayed, and tells how long each phase took.

    What the container was prepared with stays as it is, but for the child in its pool.
    """
    child = Child(stamped(walked(container)))
    walk, moments = child.walk, [0]

    def note() -> tuple[int, int]:
        moments[0] = time.monotonic_ns()
        return walk()

    child.walk = note
    if container.pool:
        container.pool.child = child
    timed = replace(container, child=child)

    def start() -> Phases:
        fill(timed)
        times = clock.start(timed)
        return durations(times.requested, moments[0], readings(child.table), times.first)

    with child.ready():
        yield start


def walked(container: Prepared) -> Plan:
    """Return the plan that is left to the child."""
    return split(container.plan)[1] if container.pool else container.plan


def on_demand(tell: Tell, rounds: int = ROUNDS) -> Section:
    """Measure the phases of a start."""
    return _section("phases", "Which step of a start takes how long?", tell, rounds, pooled=False)


def pooled(tell: Tell, rounds: int = ROUNDS) -> Section:
    """Measure the phases of a start that finds parts of its container ready."""
    question = "Which step takes how long, where parts of the container were made beforehand?"
    return _section("phases, pooled", question, tell, rounds, pooled=True)


def _section(title: str, question: str, tell: Tell, rounds: int, pooled: bool) -> Section:
    with bundle() as (directory, config), Clock() as clock, contextlib.ExitStack() as stack:
        whole, parted = (stack.enter_context(launch.prepared(read(config), directory, pooled=pooled)) for _ in range(2))
        if not whole.child:
            return Section(title, question, words=[NOT_REPLAYED])
        start = stack.enter_context(clocked(parted, clock))
        series = {label: Series() for label in (*labels(walked(parted)), WHOLE)}
        start_whole = starting(clock, whole)

        for counts in counted(title, tell, rounds):
            time.sleep(GAP)
            outcomes = {WHOLE: outcome_of(start_whole)}
            time.sleep(GAP)
            outcomes |= _phases_of(start, labels(walked(parted)))
            for label, outcome in outcomes.items() if counts else ():
                series[label].add(outcome)
    return Section(title, question, series, _words(series))


def _phases_of(start: Callable[[], Phases], names: list[str]) -> dict[str, Round | str]:
    try:
        return {name: Round(first=duration) for name, duration in start().items()}
    except IsoproofError as error:
        return dict.fromkeys(names, str(error))


def _words(series: dict[str, Series]) -> list[str]:
    """Say what the clock readings cost."""
    *parts, whole = (seen.values("first") for seen in series.values())
    if not whole or not parts[0]:
        return []
    added = latency.percentile([sum(durations) for durations in zip(*parts, strict=True)], 50)
    share = added / latency.percentile(whole, 50)
    return [f"The phases of a start add up to {added / 1e6:.2f} ms (median), {share:.2f} times {WHOLE}."]
