"""Runs of the benchmark's baseline in which some starts are slowed down, as the rounds of tests/unit were recorded.

    python -m tests.kernel.recording FILE KIND      adds a run to a file; the kind says what else the machine did

What is slow has a longer plan: more read-only mounts of the same path, each a few system calls.
"""

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.bench import baseline, own
from harness.bench.contenders import Contender, Place
from harness.bench.runtimes import Maker
from harness.bench.series import Quantity, Round, Section, Settings

# How many more read-only paths slow a start down by a quarter of its time to the first instruction.
SLOWED: Mapping[Maker, int] = {
    own.Builtin: 38,
    own.Pooled: 23,
    own.Forked: 40,
    own.isoproof_run: 145,
    own.isoproof_first_run: 325,
}
SUFFIX = "+25%"


def slowed(make: Maker, paths: int, suffix: str) -> Maker:
    """Return what makes the same contender with so many more read-only paths, under a name with a suffix."""

    def make_slowed(place: Place) -> Contender:
        directory = place.directory / f"{make.__name__}{suffix}"
        directory.mkdir()
        longer = replace(place, directory=directory, config=copy.deepcopy(place.config))
        longer.config["linux"]["readonlyPaths"] += ["/proc/fs"] * paths
        longer.copy("bundle")
        longer.stopwatch.symlink_to(place.stopwatch)
        contender = make(longer)
        contender.name += suffix
        return contender

    return make_slowed


def measured(settings: Settings, makers: Sequence[Maker]) -> Section:
    """Let these take turns."""
    return baseline.measured(lambda text: None, settings, makers)[1]


def compact(section: Section) -> dict[str, list[int | None]]:
    """Return the rounds in microseconds: what each is held against by, and None for one that failed."""
    quantities = {held.yardstick: held.quantity for held in baseline.HELD.values()}
    return {
        label: [microseconds(seen, quantities.get(label, "first")) for seen in series.rounds]
        for label, series in section.series.items()
    }


def microseconds(seen: Round | None, quantity: Quantity) -> int | None:
    """Return one quantity of a round."""
    value: int | None = getattr(seen, quantity) if seen else None
    return None if value is None else round(value / 1000)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    runs = json.loads(file.read_text()) if file.exists() else []
    makers = [*baseline.MAKERS, *(slowed(make, paths, SUFFIX) for make, paths in SLOWED.items())]
    section = measured(baseline.SETTINGS, makers)
    runs.append({"kind": sys.argv[2], "rounds": compact(section)})
    file.write_text(json.dumps(runs, separators=(",", ":")).replace('{"kind"', '\n{"kind"') + "\n")
