"""The section with which later runs are compared: our own starts, and what they are held against.

It is measured by itself and always in the same way, for whoever else takes part leaves work behind: beside all the
runtimes of `make bench` our own takes a tenth longer to start.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.bench import contenders, runtimes, turns
from harness.bench.progress import Tell
from harness.bench.runtimes import Maker
from harness.bench.series import Contender as Told
from harness.bench.series import Quantity, Section, Settings
from harness.bench.yardstick import Yardstick, calls

NAME = "baseline"
SETTINGS = Settings(rounds=100, gap_ms=5, warmup=5)
MAKERS: tuple[Maker, ...] = (*runtimes.OWN, Yardstick)


class Held(NamedTuple):
    """What the rounds of a series are held against."""

    yardstick: str
    quantity: Quantity


# Against what asks the kernel for the same kind of work; the command takes most of its time for Python.
HELD: Mapping[str, Held] = {
    "builtin": Held(Yardstick.name, "first"),
    "builtin-pooled": Held(Yardstick.name, "first"),
    "builtin-forked": Held(Yardstick.name, "first"),
    "isoproof-run": Held("python", "clean"),
    "isoproof-run-first": Held("python", "clean"),
}


def measure(tell: Tell) -> Section:
    """Measure the section."""
    return measured(tell)[1]


def measured(
    tell: Tell, settings: Settings = SETTINGS, makers: Sequence[Maker] = MAKERS
) -> tuple[dict[str, Told], Section]:
    """Measure the section, and tell who has taken part."""
    with runtimes.contest(settings, tell, makers=makers, title=NAME) as contest:
        contest.turns.all_rounds()
    question = "How long do our own starts take when nobody else takes part? Later runs are compared with this."
    return contest.told, Section("Baseline", question, contest.turns.series())


def identity() -> str:
    """Return what is another one as soon as something else is measured.

    That is the bundle, the yardstick, the gap, or who takes part in which order: neighbours leave work behind.
    """
    order = turns.orders([make.__name__ for make in MAKERS])
    measured = (contenders.asked(), list(map(str, calls("/", 1))), SETTINGS.gap_ms, [next(order), next(order)])
    return hashlib.sha256(json.dumps(measured).encode()).hexdigest()[:12]
