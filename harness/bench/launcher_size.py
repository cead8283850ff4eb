"""Whether a start takes longer from a large process: fork(2) copies page tables, the replay executor copies nothing."""

from collections.abc import Sequence

from harness.bench import leavings
from harness.bench.contenders import place
from harness.bench.launcher import Launcher
from harness.bench.progress import Tell
from harness.bench.series import Section, Settings
from harness.bench.starts import SETTINGS, Start
from harness.bench.turns import Turns

TITLE = "Large launchers"
QUESTION = "Does a start take longer from a process that has more memory in use?"
SIZES = (0, 100, 300)  # MB


def section(tell: Tell, settings: Settings = SETTINGS, sizes: Sequence[int] = SIZES) -> Section:
    """Start containers, by either executor, from processes of several sizes."""
    starts: dict[str, Start] = {}
    with leavings.undone() as stack:
        made = stack.enter_context(place())
        for size in sizes:
            tell(f"{TITLE}: making a process of {size} MB")
            launcher = stack.enter_context(Launcher(size))
            for forked in (False, True):
                container = launcher.prepare(made.config, made.bundle, forked)
                starts[f"{container.executor}, {size} MB more"] = container.start
        turns = Turns(TITLE, starts, settings, tell)
        turns.all_rounds()
    return Section(TITLE, QUESTION, turns.series())
