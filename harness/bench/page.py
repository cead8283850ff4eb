"""The benchmark as a page to open in a browser: reports/benchmark.html, with the same figures as benchmark.md.

Who starts how fast comes first, and how that is to the least that a start can take: the same system calls from C. The
pictures are worked out in `plots.py`, and what of a section is shown in which way follows from its layout. What
runtimes have said of themselves is text there and never markup.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.bench import glance, phases, plots, runtimes, tables
from harness.bench.changes import Changes
from harness.bench.layouts import LAYOUTS, Rows, figure, matrix, ratio, shares
from harness.bench.plots import FLOOR, Lines, Part, Strip, Ticks
from harness.bench.series import Benchmark, Contender, Section, Series
from harness.report import _container, _page
from harness.report._container import Pieces
from harness.report._plot import Scale

STYLE = "benchmark.css"


class Tile(NamedTuple):
    """One figure that is to be seen first."""

    words: str
    label: str
    median: float
    times: str


class Row(NamedTuple):
    """A series in a table with its strip; `notes` say why it has none, or what has failed of it."""

    label: str
    what: str
    role: str
    strip: Strip | None
    figures: list[str]
    notes: list[str]


class Strips(NamedTuple):
    """Series beside each other on one scale; `guide` is where that stands with which they are compared."""

    columns: list[str]
    rows: list[Row]
    ticks: Ticks
    logarithmic: bool
    guide: float | None


class Kind(NamedTuple):
    """Some steps of a start in a table: what they are for, and how long they take in each kind of start."""

    number: int
    label: str
    steps: int
    why: Pieces
    parts: list[Part | None]


class Shown(NamedTuple):
    """A section with one of two pictures, or none; all its figures are in tables, with sentences about their units."""

    name: str
    section: Section
    strips: Strips | None
    lines: Lines | None
    tables: list[tuple[Rows, list[str]]]
    notes: list[str]


def render(benchmark: Benchmark, since: Changes | None = None) -> str:
    """Return the whole page, with what has changed since another run, where that is told."""
    sections = [shown(name, section, benchmark) for name, section in benchmark.sections.items()]
    starts = [each for each in sections if LAYOUTS.get(each.name) is shares and each.section.series]
    bars = plots.bars([each.section.series for each in starts])
    series = _runtimes(benchmark)
    what = {label: _in_short(who) for label, who in benchmark.contenders.items()}
    return _page.rendered(
        "benchmark.html",
        _page.piece(STYLE),
        benchmark=benchmark,
        tiles=list(_tiles(series, what)),
        shown=[each for each in sections if each not in starts],
        starts=list(zip(starts, bars, strict=True)),
        kinds=_kinds(bars),
        spread=plots.distributions(series),
        since=since,
        aims=glance.rows(benchmark.sections),
        aims_words=glance.WORDS,
        height=plots.HEIGHT,
    )


def _runtimes(benchmark: Benchmark) -> dict[str, Series]:
    """Return the series of the runtimes, the fastest first, and in the end what has no median."""
    series = benchmark.sections[runtimes.NAME].series if runtimes.NAME in benchmark.sections else {}
    medians = phases.medians(series)
    return dict(sorted(series.items(), key=lambda pair: medians.get(pair[0], float("inf"))))


def _tiles(series: dict[str, Series], what: dict[str, str]) -> Iterator[Tile]:
    """Yield the least that a start can take, our own, and the fastest and the slowest of the others."""
    medians = phases.medians(series)
    others = [label for label in medians if plots.role(label, medians) == "other"]
    wanted = {
        FLOOR: "the least that a start can take: the same system calls, made from C",
        runtimes.OURS: "isoproof's own runtime, from a program that is running already",
    }
    wanted |= {label: f"the fastest of the others: {what.get(label, label)}" for label in others[:1]}
    wanted |= {label: f"the slowest of the others: {what.get(label, label)}" for label in others[1:][-1:]}
    for label, words in wanted.items():
        if label in medians:
            times = ratio(series[label].values("first"), series[FLOOR].values("first")) if FLOOR in medians else ""
            yield Tile(words, label, medians[label], "" if label == FLOOR else times)


def shown(name: str, section: Section, benchmark: Benchmark) -> Shown:
    """Return what is shown of a section."""
    if not section.series:
        return Shown(name, section, None, None, [], [])
    series = _runtimes(benchmark) if name == runtimes.NAME else section.series
    rows, units = tables.figures(name, series, benchmark, str)
    told = [(rows, list(units))]
    if name == runtimes.NAME and (against := tables.ratios(series)):
        told.append((against, [tables.CHANCE]))
    layout = LAYOUTS.get(name)
    if layout in (matrix, shares):
        notes = [f"{label}: {words}" for label, words in tables.failures(series)]
        return Shown(
            name, section, None, plots.lines(series, benchmark.contenders) if layout is matrix else None, told, notes
        )
    strips = _contest(series, benchmark) if name == runtimes.NAME else _compared(series, benchmark, rows)
    return Shown(name, section, strips, None, told, [])


def _contest(series: dict[str, Series], benchmark: Benchmark) -> Strips:
    """Return the strips of the runtimes; who is absent comes last."""
    across = plots.scale_of(series.values())
    floor = series.get(FLOOR, Series())
    values = floor.values("first")
    rows = []
    for label, each in series.items():
        what = _in_short(benchmark.contenders[label]) if label in benchmark.contenders else ""
        own = each.values("first")
        if each.values("clean") and not own:
            what = "; ".join(filter(None, [what, "only its end is timed"]))
        times = [ratio(own, values) if own and each is not floor else "1" if own else ""] if values else []
        rows.append(_row(label, each, across, what, plots.role(label, series), [*times, figure(each, "clean")]))
    for label, who in benchmark.contenders.items():
        if who.absent:
            role = plots.role(label, benchmark.contenders)
            rows.append(Row(label, _in_short(who), role, None, [], [f"absent: {who.absent}"]))
    return _strips([*(["times floor"] if values else []), "all gone"], rows, across, floor)


def _compared(series: dict[str, Series], benchmark: Benchmark, told: Rows) -> Strips:
    """Return the strips of another section; `told` are its figures, which may have differences to the first of them."""
    across = plots.scale_of(series.values())
    last = "more" if "more" in told[0] else "all gone"
    differences = {row[0]: row[told[0].index(last)] for row in told[1:]} if last == "more" else {}
    rows = []
    for label, each in series.items():
        figures = [differences.get(label, figure(each, "clean"))]
        rows.append(_row(label, each, across, "", plots.role(label, benchmark.contenders), figures))
    return _strips([last], rows, across, next(iter(series.values())) if differences else Series())


def _row(label: str, series: Series, across: Scale, what: str, role: str, last: list[str]) -> Row:
    figures = [*(figure(series, "first", share) for share in ("p50", "p95", "p99")), *last]
    notes = [f"failed: {words}" for _, words in tables.failures({label: series})]
    return Row(label, what, role, plots.strip(series, across), figures, notes)


def _strips(last: list[str], rows: list[Row], across: Scale, base: Series) -> Strips:
    guide = plots.strip(base, across)
    columns = ["median", "p95", "p99", *last]
    return Strips(columns, rows, across.ticks(), across.logarithmic, guide.median if guide else None)


def _in_short(who: Contender) -> str:
    """Return what a contender is, without what is to be known of its figures."""
    return who.what.partition(";")[0]


def _kinds(bars: Sequence[Sequence[Part]]) -> list[Kind]:
    """Return the parts of the bars as rows of one table, in the order of their numbers, all others last."""
    whys = {step.name: step.why for part in _container.planned({}) for step in part.steps}
    whys |= {
        phases.FIRST: [("all that is done in Python before", "")],
        phases.LAST: whys[phases.EXECUTE],
        plots.OTHERS: [("none of which takes as much as a fiftieth of a start", "")],
    }
    found = []
    by_label: dict[str, list[Part | None]] = {}
    for at, bar in enumerate(bars):
        for part in bar:
            by_label.setdefault(part.label, [None] * len(bars))[at] = part
    for label, parts in by_label.items():
        known = next(part for part in parts if part)
        why = whys.get(known.steps[0] if label != plots.OTHERS else label, [])
        found.append(Kind(known.number, label, len(known.steps), why, parts))
    return sorted(found, key=lambda kind: kind.number or len(found) + 1)
