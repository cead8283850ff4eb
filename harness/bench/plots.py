"""The pictures of the benchmark's page: what is where in them; the templates of harness/report/page draw them.

Every figure in them is in milliseconds, and stands in a table beside its picture, too.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from harness import latency
from harness.bench import baseline, phases
from harness.bench.series import Series
from harness.report._plot import Scale, dots, rising, scale, spread, thinned

MOST_DRAWN = 200  # starts of a series that are drawn; figures are of all of them
STRIP = 100.0  # the height of a strip's view box
FLOOR = "floor"
YARDSTICKS = (FLOOR, "posix_spawn", "python", "yardstick")  # what is timed to be compared with, and is no runtime
LABELS = 4.6  # the least distance of labels above a picture, in percent of its width: room to read on a telephone, too
HEIGHT, LINE_OF_TEXT = 300, 15  # of a picture with lines, in CSS pixels, and of a label beside it
DASHES = 4  # patterns of lines
MARKS = 5  # shapes of marks
LEAST_SHARE = 0.02  # of a start, that a phase takes to be shown by itself
COLOURS = 6
OTHERS = "other steps"

Ticks = list[tuple[float, str]]


class Strip(NamedTuple):
    """The starts of a series as dots beside each other, with their median and two percentiles; places in percent."""

    dots: str
    median: float
    p95: float
    p99: float
    words: str


class Curve(NamedTuple):
    """The share of starts that were done by then, as a path; `top` is where it ends, and `label_at` its label."""

    label: str
    role: str
    dash: int
    path: str
    top: float
    label_at: float


class Distributions(NamedTuple):
    """The curves of several series on one scale."""

    curves: list[Curve]
    ticks: Ticks
    logarithmic: bool


class Line(NamedTuple):
    """Medians over sizes: their places with those of the 95th percentiles; `label_at` is where its name stands."""

    label: str
    role: str
    dash: int
    mark: int
    points: list[tuple[float, float, float]]
    label_at: float


class Lines(NamedTuple):
    """A picture of lines over sizes; places across are in percent, places down in CSS pixels."""

    sizes: Ticks
    unit: str
    ticks: Ticks
    logarithmic: bool
    lines: list[Line]


class Part(NamedTuple):
    """Some steps of a start: how long all of them take, and where they are in the bar; `number` tells them apart."""

    number: int
    label: str
    steps: list[str]
    median: float
    share: float
    begins: float
    width: float


def role(label: str, others: Collection[str]) -> str:
    """Whose a series is: what runtimes are compared with, that of one of the others, or our own in one of its ways."""
    return "yardstick" if label in YARDSTICKS else "other" if label in others and label not in baseline.HELD else "ours"


def milliseconds(series: Series) -> list[float]:
    """Return how long the starts of a series took to the first instruction."""
    return [value / 1e6 for value in series.values("first")]


def scale_of(series: Iterable[Series]) -> Scale:
    """Return the scale for all starts of some series."""
    return scale([value for each in series for value in milliseconds(each)])


def strip(series: Series, across: Scale) -> Strip | None:
    """Return the starts of a series as a strip; None where there are none."""
    values = series.values("first")
    if not values:
        return None
    median, p95, p99 = (across.at(latency.percentile(values, share) / 1e6) for share in (50, 95, 99))
    words = f"{len(values)} starts between {min(values) / 1e6:.2f} and {max(values) / 1e6:.2f} milliseconds"
    return Strip(
        dots([across.at(value / 1e6) for value in thinned(values, MOST_DRAWN)], STRIP), median, p95, p99, words
    )


def distributions(series: Mapping[str, Series]) -> Distributions:
    """Return the cumulative distributions of some series, from the fastest to the slowest."""
    across = scale_of(series.values())
    drawn = {label: thinned(values, MOST_DRAWN) for label, each in series.items() if (values := each.values("first"))}
    places = {label: [across.at(value / 1e6) for value in values] for label, values in drawn.items()}
    labels = sorted(places, key=lambda label: places[label][len(places[label]) // 2])
    label_at = spread([places[label][-1] for label in labels], LABELS)
    curves = [
        Curve(label, role(label, drawn), number % DASHES, rising(places[label]), places[label][-1], at)
        for number, (label, at) in enumerate(zip(labels, label_at, strict=True))
    ]
    return Distributions(curves, across.ticks(), across.logarithmic)


def lines(series: Mapping[str, Series], others: Collection[str]) -> Lines:
    """Return the medians of series with labels `name, size` over their sizes, a line for each name."""
    by_name: dict[str, dict[str, Series]] = {}
    for label, each in series.items():
        name, _, size = label.rpartition(", ")
        if each.values("first"):
            by_name.setdefault(name, {})[size] = each
    sizes = list(dict.fromkeys(size for found in by_name.values() for size in found))
    amounts = [_amount(size, number) for number, size in enumerate(sizes)]
    across = _between(amounts)
    figures = {
        name: [(across.at(_amount(size, sizes.index(size))), *_median_and_p95(each)) for size, each in found.items()]
        for name, found in by_name.items()
    }
    down = scale([value for points in figures.values() for _, *values in points for value in values])
    placed = {
        name: [(at, _down(down, median), _down(down, p95)) for at, median, p95 in points]
        for name, points in figures.items()
    }
    names = sorted(placed, key=lambda name: placed[name][-1][1])
    label_at = spread([placed[name][-1][1] for name in names], LINE_OF_TEXT, 0, HEIGHT)
    return Lines(
        [(across.at(amount), f"{amount:g}") for amount in amounts],
        " ".join(re.sub(r"\d+", "", sizes[0]).split()) if sizes else "",
        [(_down(down, float(text)), text) for _, text in down.ticks()],
        down.logarithmic,
        [
            Line(name, role(name, others), number % DASHES, number % MARKS, placed[name], at)
            for number, (name, at) in enumerate(zip(names, label_at, strict=True))
        ],
    )


def _between(amounts: Sequence[float]) -> Scale:
    """Return the scale from the least to the greatest size."""
    low, high = min(amounts, default=0.0), max(amounts, default=0.0)
    return Scale(low, high, scale(amounts).logarithmic) if low < high else Scale(low - 1, low + 1)


def _amount(size: str, number: int) -> float:
    """Return the number in a size, such as `32 at once`; that of its place where it has none."""
    found = re.search(r"\d+", size)
    return float(found[0]) if found else float(number)


def _median_and_p95(series: Series) -> tuple[float, float]:
    values = series.values("first")
    return latency.percentile(values, 50) / 1e6, latency.percentile(values, 95) / 1e6


def _down(scale: Scale, value: float) -> float:
    return round(HEIGHT * (1 - scale.at(value) / 100), 1)


def bars(starts: Sequence[Mapping[str, Series]]) -> list[list[Part]]:
    """Return the phases of starts as bars on one scale: the large ones in their order, and at the end all others.

    Steps of one kind, such as `mask:/proc/keys`, are one part, and have the same number in every bar.
    """
    grouped = [_by_kind(series) for series in starts]
    wholes = [sum(sum(steps.values()) for steps in kinds.values()) for kinds in grouped]
    longest = max(wholes, default=0) or 1
    sizes = [
        (kind, sum(steps.values()) / whole)
        for kinds, whole in zip(grouped, wholes, strict=True)
        for kind, steps in kinds.items()
    ]
    large = dict.fromkeys(kind for kind, share in sizes if share >= LEAST_SHARE)
    numbers = {kind: number for number, kind in enumerate(large, 1)}
    found = []
    for kinds, whole in zip(grouped, wholes, strict=True):
        small = {label: median for kind, steps in kinds.items() if kind not in large for label, median in steps.items()}
        shown = [(kind, steps) for kind, steps in kinds.items() if kind in large]
        shown += [(OTHERS, small)] if small else []
        medians = [sum(steps.values()) for _, steps in shown]
        begins = itertools.accumulate(medians, initial=0.0)
        found.append(
            [
                Part(
                    numbers.get(kind, 0),
                    kind,
                    list(steps),
                    median,
                    100 * median / whole,
                    round(100 * begin / longest, 2),
                    round(100 * median / longest, 2),
                )
                for (kind, steps), median, begin in zip(shown, medians, begins, strict=False)
            ]
        )
    return found


def _by_kind(series: Mapping[str, Series]) -> dict[str, dict[str, float]]:
    """Return the medians of steps, together by what their names begin with."""
    found: dict[str, dict[str, float]] = {}
    for label, median in phases.medians(dict(series)).items():
        if label != phases.WHOLE:
            found.setdefault(label.partition(":")[0], {})[label] = median
    return found
