"""What each namespace costs: a process that is born into one, or none, or all, and becomes the program at once."""

from dataclasses import replace
from functools import partial, reduce
from operator import or_
from pathlib import Path

from harness.bench import leavings
from harness.bench.contenders import place
from harness.bench.progress import Tell
from harness.bench.series import Section, Settings
from harness.bench.starts import NOT_REPLAYED, SETTINGS, Start, start
from harness.bench.turns import Turns
from harness.runtime import launch
from harness.runtime.config import read
from harness.runtime.fields import NAMESPACES
from harness.runtime.privileges import execute
from harness.runtime.replay import Child
from harness.runtime.step import Plan
from harness.runtime.syscalls import CLONE

TITLE = "Namespaces"
NONE = "none"
QUESTION = "What does each namespace cost a process that is born into it?"
WORDS = [
    "Nothing else is done in them: no mount, no interface is made, no id mapped, no right given up.",
    "The kernel takes a network namespace apart in its own time, when the last process is gone: that is in no figure.",
]


def variants() -> dict[str, CLONE]:
    """Return the flags of clone3(2) under the names of the namespaces that they make."""
    everything = reduce(or_, NAMESPACES.values())
    return {NONE: CLONE(0), **NAMESPACES, f"all {len(NAMESPACES)}": everything}


def bare(flags: CLONE, program: Path) -> Plan:
    """Return the plan of a process that becomes a program of the host's in new namespaces."""
    return Plan(flags, (execute({"process": {"args": [str(program)]}}),))


def section(tell: Tell, settings: Settings = SETTINGS) -> Section:
    """Start a process in each kind of namespace."""
    starts: dict[str, Start] = {}
    with leavings.undone() as stack:
        made = stack.enter_context(place())
        container = stack.enter_context(launch.prepared(read(made.config), made.bundle))
        if not container.child:
            return Section(TITLE, QUESTION, words=[NOT_REPLAYED])
        for name, flags in variants().items():
            plan = bare(flags, made.bundle / "rootfs/clock")
            # The program is ours and reaches into nothing, so it need not be in a PID namespace of its own.
            child = Child(plan)
            stack.enter_context(child.ready())
            starts[name] = partial(start, replace(container, plan=plan, child=child))
        turns = Turns(TITLE, starts, settings, tell)
        turns.all_rounds()
    return Section(TITLE, QUESTION, turns.series(), WORDS)
