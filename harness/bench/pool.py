"""What a pool saves: starts that find parts of their container ready, and what it takes to make these beforehand."""

import contextlib
import time

from harness.bench.series import Round, Section
from harness.bench.starts import Clock
from harness.bench.turns import NOT_REPLAYED, ROUNDS, Start, Tell, bundle, starting, take_turns
from harness.runtime import launch
from harness.runtime.config import read
from harness.runtime.pool import Pool, discard

TITLE = "pool"
QUESTION = "How much faster is a start that finds its network and IPC namespaces and their mounts ready?"
WORDS = [
    "What is ready serves one container and is never used again, so each pooled start is paid for by one fill, at some "
    "other time."
]


def section(tell: Tell, rounds: int = ROUNDS) -> Section:
    """Start containers on demand and from the pool; the fills are off the path, and a series of their own."""
    with contextlib.ExitStack() as stack:
        directory, config = stack.enter_context(bundle())
        clock = stack.enter_context(Clock())
        plain, pooled = (
            stack.enter_context(launch.prepared(read(config), directory, pooled=wanted)) for wanted in (False, True)
        )
        if not pooled.pool:
            return Section(TITLE, QUESTION, words=[NOT_REPLAYED])
        starts = {
            "on demand": starting(clock, plain),
            "pooled": starting(clock, pooled),
            "fill": filling(pooled.pool),
        }
        return Section(TITLE, QUESTION, take_turns(TITLE, starts, tell, rounds), WORDS)


def filling(pool: Pool) -> Start:
    """Return what fills a pool for one start, and throws that away."""

    def fill() -> Round:
        begun = time.monotonic_ns()
        pool.fill()
        ended = time.monotonic_ns()
        discard(pool.take() or {})
        return Round(first=ended - begun)

    return fill
