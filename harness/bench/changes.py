"""What has changed since a stored run, for the benchmark's page: the verdicts of `comparison.py`, and what has none.

Only our own starts have verdicts, for only they are measured by themselves, beside a yardstick. Of the others is told
how their medians have moved, and how that of the floor has: it is the kernel's alone, so it moves with the machine.
"""

from typing import NamedTuple

from harness.bench import baseline, comparison, plots, runtimes
from harness.bench.comparison import Finding
from harness.bench.phases import medians
from harness.bench.plots import Ticks
from harness.bench.series import Benchmark
from harness.report._plot import Scale

LEAST_REACH = 25.0  # per cent to either side, so that what is next to nothing looks so


class Change(NamedTuple):
    """By how many per cent something has grown, and where that is; `held` is the same, held against the yardstick."""

    label: str
    role: str
    then: float
    now: float
    percent: float
    at: float
    held: float | None = None
    held_at: float | None = None
    verdict: str = ""
    reason: str = ""


class Changes(NamedTuple):
    """Since which run; what has a verdict, or why it has none; all runtimes, and where the floor has moved to."""

    started: str
    judged: list[Change]
    untold: list[tuple[str, str]]
    runtimes: list[Change]
    ticks: Ticks
    threshold: tuple[float, float]
    floor: float | None


def since(then: Benchmark, now: Benchmark, findings: list[Finding] | None = None) -> Changes:
    """Return what has changed; the findings are those of the two runs, or of more that were measured to be sure."""
    if findings is None:
        judged = all(baseline.NAME in run.sections for run in (then, now))
        findings = comparison.judged(then, now) if judged else []
    pairs = _medians(then, now)
    moved = [percent(old, new) for old, new in pairs.values()]
    moved += [percent(1, ratio) for each in findings for ratio in (each.ratio, each.held) if ratio]
    reach = max(LEAST_REACH, *map(abs, moved)) * 1.05 if moved else LEAST_REACH
    across = Scale(-reach, reach)
    edge = 100 * (comparison.THRESHOLD - 1)
    return Changes(
        then.started,
        [_judged(each, across) for each in findings if each.then and each.now],
        [(each.label, each.reason) for each in findings if not (each.then and each.now)],
        [
            Change(label, plots.role(label, pairs), old, new, percent(old, new), across.at(percent(old, new)))
            for label, (old, new) in pairs.items()
        ],
        [(at, f"{float(text):+g}" if float(text) else "0") for at, text in across.ticks()],
        (across.at(100 / comparison.THRESHOLD - 100), across.at(edge)),
        across.at(percent(*pairs[plots.FLOOR])) if plots.FLOOR in pairs else None,
    )


def percent(old: float, new: float) -> float:
    """Return by how many per cent a figure has grown."""
    return 100 * (new / old - 1)


def _medians(then: Benchmark, now: Benchmark) -> dict[str, tuple[float, float]]:
    """Return the medians of all runtimes in both runs, in milliseconds."""
    old, new = (
        medians(run.sections[runtimes.NAME].series) if runtimes.NAME in run.sections else {} for run in (then, now)
    )
    return {label: (old[label], new[label]) for label in old if label in new}


def _judged(each: Finding, across: Scale) -> Change:
    assert each.then
    assert each.now
    moved = percent(each.then, each.now)
    held = None if each.held is None else percent(1, each.held)
    return Change(
        each.label,
        plots.role(each.label, ()),
        each.then,
        each.now,
        moved,
        across.at(moved),
        held,
        None if held is None else across.at(held),
        each.verdict,
        each.reason,
    )
