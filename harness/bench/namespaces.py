"""What each namespace costs: a process that is born into one, or none, or all, and becomes the program at once."""

import contextlib
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path

from harness.bench.series import Section
from harness.bench.starts import Clock
from harness.bench.turns import CLOCK, NOT_REPLAYED, ROUNDS, Start, Tell, bundle, starting, take_turns
from harness.runtime import launch
from harness.runtime.config import read
from harness.runtime.fields import NAMESPACES
from harness.runtime.privileges import execute
from harness.runtime.replay import Child
from harness.runtime.step import Plan
from harness.runtime.syscalls import CLONE

TITLE = "namespaces"
QUESTION = "What does each namespace cost a process that is born into it?"
WORDS = [
    "Nothing else is done in them: no mount, no interface is made, no id mapped, no right given up.",
    "The kernel takes a network namespace apart when its last process is gone, and in its own time: no figure has that in "
    "it.",
]


def variants() -> dict[str, CLONE]:
    """Return the flags of clone3(2) under the names of the namespaces that they make."""
    everything = reduce(or_, NAMESPACES.values())
    return {"none": CLONE(0), **NAMESPACES, f"all {len(NAMESPACES)}": everything}


def bare(flags: CLONE, program: Path) -> Plan:
    """Return the plan of a process that becomes a program of the host's in new namespaces."""
    return Plan(flags, (execute({"process": {"args": [str(program)]}}),))


def section(tell: Tell, rounds: int = ROUNDS) -> Section:
    """Start a process in each kind of namespace."""
    starts: dict[str, Start] = {}
    with contextlib.ExitStack() as stack:
        directory, config = stack.enter_context(bundle())
        clock = stack.enter_context(Clock())
        container = stack.enter_context(launch.prepared(read(config), directory))
        if not container.child:
            return Section(TITLE, QUESTION, words=[NOT_REPLAYED])
        for name, flags in variants().items():
            plan = bare(flags, Path(f"{directory}/rootfs{CLOCK}"))
            # The program is ours and reaches into nothing, so it need not be in a PID namespace of its own.
            child = Child(plan)
            stack.enter_context(child.ready())
            starts[name] = starting(clock, replace(container, plan=plan, child=child))
        series = take_turns(TITLE, starts, tell, rounds)
    return Section(TITLE, QUESTION, series, WORDS)
