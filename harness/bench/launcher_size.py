"""Whether a start takes longer from a large process: fork(2) copies page tables, the replay executor copies nothing."""

import contextlib

from harness.bench.launchers import Launcher
from harness.bench.series import Section
from harness.bench.turns import ROUNDS, Start, Tell, bundle, take_turns

TITLE = "launcher size"
QUESTION = "Does a start take longer from a process that has more memory in use?"
SIZES = (10, 100, 300)  # MB


def section(tell: Tell, rounds: int = ROUNDS, sizes: tuple[int, ...] = SIZES) -> Section:
    """Start containers, by either executor, from processes of several sizes."""
    starts: dict[str, Start] = {}
    with bundle() as (directory, config), contextlib.ExitStack() as stack:
        for size in sizes:
            tell(f"{TITLE}: making a process of {size} MB")
            launcher = stack.enter_context(Launcher(size))
            for forked in (False, True):
                start, executor = launcher.prepare(config, directory, forked)
                starts[f"{executor}, {size} MB more"] = start
        series = take_turns(TITLE, starts, tell, rounds)
    return Section(TITLE, QUESTION, series)
