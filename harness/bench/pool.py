"""What a pool saves: starts that find parts of their container ready, and what it takes to make these beforehand."""

import time
from functools import partial

from harness.bench import leavings
from harness.bench.contenders import place
from harness.bench.progress import Tell
from harness.bench.series import Round, Section, Settings
from harness.bench.starts import NOT_REPLAYED, SETTINGS, Start, start
from harness.bench.turns import Turns
from harness.runtime import launch
from harness.runtime.config import read
from harness.runtime.pool import Pool

TITLE = "The pool"
QUESTION = "How much faster is a start that finds its network and IPC namespaces and their mounts ready?"
WORDS = [
    "fill: how long it takes to make the parts of one container.",
    "What is ready serves one container and is never used again, so each pooled start is paid for by one fill, at some "
    "other time.",
]


def section(tell: Tell, settings: Settings = SETTINGS) -> Section:
    """Start containers on demand and from the pool; the fills are off the path, and a series of their own."""
    with leavings.undone() as stack:
        made = stack.enter_context(place())
        plain, pooled = (
            stack.enter_context(launch.prepared(read(made.config), made.bundle, pooled=wanted))
            for wanted in (False, True)
        )
        if not pooled.pool:
            return Section(TITLE, QUESTION, words=[NOT_REPLAYED])
        starts: dict[str, Start] = {
            "on demand": partial(start, plain),
            "pooled": partial(start, pooled),
            "fill": filling(pooled.pool),
        }
        turns = Turns(TITLE, starts, settings, tell)
        turns.all_rounds()
    return Section(TITLE, QUESTION, turns.series(), WORDS)


def filling(pool: Pool) -> Start:
    """Return what fills a pool for one start, and throws that away."""

    def fill() -> Round:
        begun = time.monotonic_ns()
        pool.fill()
        ended = time.monotonic_ns()
        pool.give_back(pool.take() or {})
        return Round(first=ended - begun)

    return fill
