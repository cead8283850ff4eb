"""Where the time of a start goes: a plan that reads the clock after each of its steps.

The readings are calls of the plan like others, so the child makes them by itself, and they lie in its table until the
next start. They are in no plan but the one that is made here. clock_gettime(2)
"""

import contextlib
import ctypes
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness import elf, latency
from harness.bench import cells, leavings
from harness.bench.contenders import Place, place
from harness.bench.progress import Tell
from harness.bench.series import Round, Section, Series, Settings, from_json
from harness.bench.starts import NOT_REPLAYED, SETTINGS, Start, start
from harness.bench.turns import Turns
from harness.errors import BadInput
from harness.runtime import launch, stub
from harness.runtime.config import read
from harness.runtime.errors import on_one_line
from harness.runtime.launch import Prepared
from harness.runtime.plan import CLONE
from harness.runtime.pool import split
from harness.runtime.replay import Child
from harness.runtime.step import Call, Packed, Plan, Step
from harness.runtime.table import Table

STAMP = "stamp:"
NAME = "phases"  # of the section
FIRST, LAST = "request to clone", "execve to first instruction"
EXECUTE = "execute"  # the step that ends with execve(2)
WHOLE, PARTED = "a start without the clock readings", "a start with them"

Phases = dict[str, int]  # how long each took, in nanoseconds


def stamped(plan: Plan) -> Plan:
    """Return a plan that reads the clock when the child begins and after each step but the last, which is execve(2)."""
    *steps, last = plan.steps
    return replace(plan, steps=(_stamp(CLONE), *(both for step in steps for both in (step, _stamp(step.name))), last))


def _stamp(name: str) -> Step:
    reading = Call("clock_gettime", (time.CLOCK_MONOTONIC, Packed(bytes(elf.TIMESPEC.size), "what time it is")))
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


class Noted(stub.Context):
    """A context that notes when the child was cloned."""

    cloned = 0

    def walk(self) -> tuple[int, int]:
        """Walk the table, right after a look at the clock."""
        self.cloned = time.monotonic_ns()
        return super().walk()


@contextlib.contextmanager
def clocked(container: Prepared, taken: list[Phases]) -> Iterator[Start]:
    """Yield what starts a container that is replayed, and appends how long each phase took.

    What the container was prepared with stays as it is, but for the child of its pool.
    """
    child = Child(stamped(walked(container)))
    noted = Noted(child.table.words, child.arguments)
    child.context = noted
    if container.pool:
        container.pool.child = child
    timed = replace(container, child=child)

    def clocked_start() -> Round:
        times = cells.start(timed)
        seen = Round(*times.durations)
        taken.append(durations(times.requested, noted.cloned, readings(child.table), times.first))
        return seen

    with child.ready():
        yield clocked_start


def walked(container: Prepared) -> Plan:
    """Return the plan that is left to the child."""
    return split(container.plan)[1] if container.pool else container.plan


def on_demand(tell: Tell, settings: Settings = SETTINGS) -> Section:
    """Measure the phases of a start."""
    return _section("Phases", "Which step of a start takes how long?", tell, settings, pooled=False)


def pooled(tell: Tell, settings: Settings = SETTINGS) -> Section:
    """Measure the phases of a start that finds parts of its container ready."""
    question = "Which step takes how long, where parts of the container were made beforehand?"
    return _section("Phases of a pooled start", question, tell, settings, pooled=True)


def _section(title: str, question: str, tell: Tell, settings: Settings, pooled: bool) -> Section:
    with leavings.undone() as stack:
        found = measured(title, stack.enter_context(place()), tell, settings, pooled)
    return Section(title, question, found, words(found) if found else [NOT_REPLAYED])


def measured(title: str, made: Place, tell: Tell, settings: Settings, pooled: bool = False) -> dict[str, Series]:
    """Return a series for each phase, and one of whole starts for comparison; nothing where no start is replayed."""
    taken: list[Phases] = []
    with leavings.undone() as stack:
        whole, parted = (
            stack.enter_context(launch.prepared(read(made.config), made.bundle, pooled=pooled)) for _ in range(2)
        )
        if not whole.child:
            return {}
        starts: dict[str, Start] = {PARTED: stack.enter_context(clocked(parted, taken)), WHOLE: partial(start, whole)}
        turns = Turns(title, starts, settings, tell)
        turns.all_rounds()
        names = labels(walked(parted))
    found = turns.series()
    return {**by_phase(names, found[PARTED], taken), WHOLE: found[WHOLE]}


def by_phase(names: Iterable[str], starts: Series, taken: list[Phases]) -> dict[str, Series]:
    """Return the series of each phase: the latest that were taken are those of the starts, but for the failed ones."""
    series = {name: Series() for name in names}
    failures = dict(starts.failures)
    latest = iter(taken[len(taken) - len(starts.values("first")) :])
    for index in range(len(starts.rounds)):
        phases = None if index in failures else next(latest)
        for name, found in series.items():
            found.add(Round(first=phases[name]) if phases else failures[index])
    return series


def words(found: dict[str, Series]) -> list[str]:
    """Say what the first phases hold, and what the clock readings cost."""
    said = [f"{FIRST}: all that is done in Python. {CLONE}: until the child has its standard streams, too."]
    *phases, whole = (seen.values("first") for seen in found.values())
    if phases[0] and whole:
        parted = [sum(parts) for parts in zip(*phases, strict=True)]
        median, share = latency.percentile(parted, 50), latency.compare(parted, whole).ratio
        said.append(f"The phases of a start add up to {median / 1e6:.2f} ms (median), {share:.2f} times {WHOLE}.")
    return said


def step_times(sections: Mapping[str, Section]) -> dict[str, float]:
    """Return the median of each step of a start in microseconds, under its name (`harness.runtime.plan.Times`).

    The time of the last one, execve(2), is that until the first instruction. Before the clone nothing is told apart.
    """
    found = medians(sections[NAME].series) if NAME in sections else {}
    renamed = {EXECUTE if label == LAST else label: median * 1000 for label, median in found.items()}
    return {label: median for label, median in renamed.items() if label not in (FIRST, WHOLE)}


def last_times(path: Path) -> tuple[dict[str, float], str]:
    """Return how long each step of a start took in a benchmark, if there was one here, and a sentence about it."""
    try:
        found = from_json(path.read_bytes(), str(path))
    except (OSError, BadInput):
        return {}, "No times are known: make bench measures them."
    day = on_one_line(found.started[:10])
    return step_times(found.sections), f"Times are medians of the benchmark of {day}, in the usual container."


def medians(found: dict[str, Series]) -> dict[str, float]:
    """Return the median of each series in milliseconds, of those that have one."""
    return {label: summary["p50"] for label, seen in found.items() if (summary := seen.summary("first"))}


def growth(before: dict[str, Series], after: dict[str, Series]) -> dict[str, float]:
    """Return by how many milliseconds the median of each phase has grown, those that have grown most first."""
    then, now = medians(before), medians(after)
    grown = {label: now[label] - median for label, median in then.items() if label in now and label != WHOLE}
    return dict(sorted(grown.items(), key=lambda pair: -pair[1]))
