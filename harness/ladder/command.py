"""`isoproof ladder [RUNG]`: climb, tell of it, and leave it in reports/, as ladder.json and as a page."""

import os
import shutil
import sys
from pathlib import Path

from harness import outer, rootfs
from harness.bench.phases import last_times
from harness.bench.progress import Progress
from harness.bench.record import check_writable
from harness.errors import BadInput
from harness.ladder import telling
from harness.ladder.climb import RUNTIME, climb
from harness.ladder.record import FILE, Ladder, read, to_json
from harness.ladder.rungs import RUNGS
from harness.launches import known
from harness.report import _container, write
from harness.report._text import plain
from harness.scenario import Scenario

PAGE = "ladder.html"


def run(scenarios: list[Scenario], folder: Path, name: str | None, verbose: bool, directory: Path) -> int:
    """Climb, unless one rung is asked for that is known from the last time; 1 where the top is not all green.

    Likewise where a rung has no effect. `folder` is where the scenarios are. Raises BadInput, HarnessError.
    """
    if name and name not in [rung.name for rung in RUNGS]:
        raise BadInput(f"no such rung: {name}; there are {', '.join(rung.name for rung in RUNGS)}")
    stored = directory / FILE
    ladder = read(stored) if name and stored.exists() else climbed(scenarios, folder, directory)
    width = shutil.get_terminal_size().columns
    told = [name] if name else [rung.name for rung in ladder.rungs] if verbose else []
    for each in told:
        print(*map(plain, telling.rung(ladder, each, width)), "", sep="\n")
    print(*map(plain, telling.notes(ladder, width) if told else telling.lines(ladder, width)), sep="\n")
    return int(bool(ladder.idle() or ladder.open(len(ladder.rungs) - 1)))


def climbed(scenarios: list[Scenario], folder: Path, directory: Path) -> Ladder:
    """Climb, and store what was found."""
    if os.geteuid() != 0:
        raise BadInput(
            "climb the ladder: its lowest rung has no namespace, and an ordinary user's containers cannot be without "
            "one of type user; run it as root"
        )
    check_writable(directory)
    progress = Progress(sys.stderr)
    kit = rootfs.build_kit()
    with outer.Zygote() as zygote:
        try:
            ladder = climb(scenarios, known(folder / "known", RUNTIME), lambda: outer.Outer(kit, zygote), progress)
        finally:
            progress.close()
    write(directory / FILE, to_json(ladder))
    write(directory / PAGE, _container.render(ladder, *last_times(directory / _container.BENCHMARK)))
    return ladder
