"""One page to open in a browser: which runtime isolates what, every check with its evidence, what has changed.

The page is one file that asks the network for nothing. Its answer and its matrix are there without a script; a script
filters them, and shows of a check what stands behind its verdicts. What a container has said is text there and never
markup: the template escapes it, the script sets it as text, and the page's policy runs no script but its own.

The templates, the style and the script are in `page/`; a section is a template that `isolation.html` includes.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness import matrix as matrices
from harness.matrix import Column, Difference, Matrix
from harness.report import Since, _container, _evidence, _page
from harness.report._evidence import WORDS
from harness.report._text import parts
from harness.results import Results
from harness.severities import SEVERITIES

FILE = "isolation.html"
MATRIX = "matrix.html"
MEANINGS = {
    "pass": "the container shows what is claimed",
    "fail": "it does not, which was not known of this runtime",
    "known": "it does not, as is known of this runtime; the reason is told",
    "error": "there is no observation that can be trusted, so nothing is said",
    "skip": "not asked: the runtime has no terms for it, or this machine lacks what it needs",
}
NAME_WIDTH, COLUMN_WIDTH = 340, 30  # in CSS pixels; a matrix that fits into a window is not scrolled sideways


class Side(NamedTuple):
    """A runtime beside the others: how many of its checks had which verdict, and of the broken ones how they weigh."""

    column: Column
    name: str
    options: str
    kernel: str
    outcomes: Counter[str]
    broken: Counter[str]  # by severity; errors are none of them
    standings: Counter[str]

    @property
    def made(self) -> int:
        return self.outcomes.total() - self.outcomes["skip"]

    @property
    def holds(self) -> bool:
        """Whether all that was asked of it holds."""
        return 0 < self.made == self.outcomes["pass"]

    def bar(self) -> Iterator[tuple[str, float, float]]:
        """The parts of a bar 100 wide, each with the word of its verdict, its beginning and its width."""
        begin = 0.0
        for outcome in ("pass", "xfail", "fail", "error", "skip"):
            width = 100 * self.outcomes[outcome] / max(self.outcomes.total(), 1)
            if width:
                yield WORDS[outcome], round(begin, 2), round(width, 2)
            begin += width


class Line(NamedTuple):
    """A row of the matrix; `repeats` says that it is the check of the row above, in another container."""

    label: str
    check: str
    shape: str
    repeats: bool
    claim: str
    severity: str
    words: list[str]  # of the verdicts, one for each runtime, "" where it was not made


class Count(NamedTuple):
    """How the checks of an area went on a runtime."""

    made: int
    broken: int
    word: str  # of the worst verdict


class Band(NamedTuple):
    """An area of the matrix with its rows."""

    name: str
    title: str
    counts: list[Count]
    lines: list[Line]


def render(results: Results) -> str:
    return _told(matrices.of(results), results)


def render_page(results: Results, folder: Path, since: Since | None = None) -> str:
    """The same with what has changed since an earlier run, with the ladder in that folder, and with the plan."""
    return _told(matrices.of(results), results, since, **_container.beside(folder))


def render_matrix(matrix: Matrix) -> str:
    """Several runs in one page. A matrix keeps no evidence, but for the reasons."""
    return _told(matrix)


def _told(matrix: Matrix, results: Results | None = None, since: Since | None = None, **container: Any) -> str:
    sides = [_side(matrix, results, column) for column in matrix.runtimes]
    bands = [_band(matrix, results, area) for area in matrix.areas]
    wide = NAME_WIDTH + COLUMN_WIDTH * len(sides)
    return _page.rendered(
        "isolation.html",
        f"{_page.piece(_container.STYLE)}:root {{ --columns: {len(sides)}; }}\n"
        f"@media screen and (max-width: {wide}px) {{ .wide {{ overflow: auto; max-height: 90vh; }} }}\n",
        matrix=matrix,
        sides=sides,
        bands=bands,
        lines=[line for band in bands for line in band.lines],
        totals=sum((side.outcomes for side in sides), Counter[str]()),
        findings=matrix.findings(),
        since=since,
        changes=_worst_first(since.differences) if since else [],
        whole=results is not None,
        evidence=_page.as_it_is(_evidence.encoded(matrix, results)),
        severities=SEVERITIES,
        meanings=MEANINGS,
        words=WORDS,
        **container or _container.NOTHING,
    )


def _worst_first(differences: list[Difference]) -> list[Difference]:
    return sorted(differences, key=lambda each: not each.cells[1] or each.cells[1].verdict in ("pass", "skip"))


def _side(matrix: Matrix, results: Results | None, column: Column) -> Side:
    broken = Counter[str](
        row.severity
        for _, _, row in matrix.rows()
        if (cell := row.cells.get(column.name)) and cell.verdict in ("fail", "xfail")
    )
    standings = results.standings(column.name) if results else Counter[str]()
    return Side(column, *parts(column.name), matrix.outcomes(column.name), broken, standings)


def _band(matrix: Matrix, results: Results | None, area: str) -> Band:
    lines = []
    previous = ""
    for label, row in matrix.areas[area].items():
        check, _, shape = label.removesuffix("]").partition("[")
        cells = [row.cells.get(column.name) for column in matrix.runtimes]
        words = [WORDS[cell.verdict] if cell else "" for cell in cells]
        lines.append(Line(label, check, shape, check == previous, row.claim, row.severity, words))
        previous = check
    told = results.catalogue.get(area) if results else None
    counts = [_count(matrix.made(column.name, area)) for column in matrix.runtimes]
    return Band(area, told.title if told else "", counts, lines)


def _count(outcomes: Counter[str]) -> Count:
    worst = next((outcome for outcome in ("error", "fail", "xfail", "pass") if outcomes[outcome]), "skip")
    return Count(outcomes.total(), outcomes.total() - outcomes["pass"], WORDS[worst])
