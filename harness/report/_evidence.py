"""What stands behind the verdicts of a matrix, as data that the script of a page shows when it is asked to.

Most of it is the same for many runtimes and checks, so each text is kept once and named by its number, and runtimes of
which the same is told share one entry.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from harness.matrix import Cell, Matrix
from harness.report._page import harmless
from harness.report.terminal import again
from harness.results import About, Result, Results
from harness.sources import address

WORDS = {"pass": "pass", "fail": "fail", "xfail": "known", "error": "error", "skip": "skip"}  # of verdicts, in a page
RUNTIME = "{runtime}"  # stands for a runtime's name in the command that repeats a check

Parts = tuple[tuple[int, int], ...]  # what was looked at, and what it was
Broken = tuple[int, int, Parts]  # an expression, its line, and its parts


class Seen(msgspec.Struct, omit_defaults=True):
    """What was seen on some runtimes: the parts of what does not hold, or what was answered; and errnos."""

    on: list[int]
    errno: int = 0
    broken: tuple[Broken, ...] = ()
    answers: Parts = ()


class Told(msgspec.Struct, omit_defaults=True):
    """A verdict with its reason, and what was seen where it was given."""

    verdict: str
    seen: list[Seen]
    reason: int = 0


class Tried(msgspec.Struct, omit_defaults=True):
    """What came of a sabotage on some runtimes."""

    sabotage: int
    outcome: str
    on: list[int]
    reason: int = 0


class Subject(msgspec.Struct, omit_defaults=True):
    """What a check and its area are about; each knob with what it does, each source with its address."""

    why: int = 0
    area: int = 0
    expect: list[int] = []
    sabotages: Parts = ()
    see: Parts = ()
    also: list[int] = []


class Line(msgspec.Struct, omit_defaults=True):
    """What stands behind a row of the matrix; `again` is the command that repeats it, `at` where the check stands."""

    told: list[Told]
    about: int  # the number of its subject
    at: int = 0
    again: int = 0
    tried: list[Tried] = []


class Evidence(msgspec.Struct):
    """All of it; the lines are in the order of the matrix's rows."""

    runtimes: list[str]
    subjects: list[Subject]
    lines: list[Line]
    texts: list[str]


class Texts(dict[str, int]):
    """Texts and their numbers; the empty one is 0."""

    def __init__(self) -> None:
        self[""] = 0

    def number(self, text: str) -> int:
        return self.setdefault(text, len(self))

    def numbers(self, texts: Iterable[str]) -> list[int]:
        return [self.number(text) for text in texts]

    def parts(self, parts: Iterable[tuple[str, str]]) -> Parts:
        return tuple((self.number(name), self.number(value)) for name, value in parts)


def encoded(matrix: Matrix, results: Results | None) -> str:
    """The evidence as JSON that can stand within a script element: no `<` is in it."""
    texts = Texts()
    columns = {column.name: number for number, column in enumerate(matrix.runtimes)}
    found: dict[tuple[str, str], Result] = {}
    facts: dict[str, Any] = {}
    subjects = {"": Subject()}
    if results:
        found = {(result.label, result.runtime): result for result in results.results if result.outcome}
        facts = results.environment
        for area in results.catalogue.values():
            subjects |= {name: _subject(about, area.why, texts) for name, about in area.checks.items()}
    numbers = {name: number for number, name in enumerate(subjects)}
    lines = []
    for _, label, row in matrix.rows():
        cells = [(columns[name], cell, found.get((label, name))) for name, cell in row.cells.items()]
        lines.append(_line(numbers.get(label.partition("[")[0], 0), sorted(cells, key=_column), facts, texts))
    evidence = Evidence(
        [harmless(name) for name in columns], list(subjects.values()), lines, list(map(harmless, texts))
    )
    return msgspec.json.encode(evidence).decode().replace("<", "\\u003c")


def _column(entry: tuple[int, Cell, Result | None]) -> int:
    return entry[0]


def _subject(about: About, area: str, texts: Texts) -> Subject:
    return Subject(
        texts.number(about.why),
        texts.number(area),
        texts.numbers(about.expect),
        texts.parts(about.sabotages.items()),
        texts.parts((source, address(source)) for source in about.see),
        texts.numbers(about.also),
    )


def _line(about: int, cells: list[tuple[int, Cell, Result | None]], facts: dict[str, Any], texts: Texts) -> Line:
    told: dict[tuple[str, str], dict[tuple[int, tuple[Broken, ...], Parts], Seen]] = {}
    tried: dict[tuple[int, str, int], Tried] = {}
    for number, cell, result in cells:
        key = texts.number(" ".join(cell.errno)), _broken(result, texts), texts.parts(result.answers if result else ())
        seen = told.setdefault((WORDS[cell.verdict], cell.reason), {}).setdefault(key, Seen([], *key))
        seen.on.append(number)
        for proof in result.proofs if result else ():
            attempt = texts.number(proof.sabotage), proof.outcome, texts.number(proof.reason)
            tried.setdefault(attempt, Tried(attempt[0], proof.outcome, [], attempt[2])).on.append(number)
    line = Line(
        [Told(word, list(seen.values()), texts.number(reason)) for (word, reason), seen in told.items()],
        about,
        tried=list(tried.values()),
    )
    if result := next((result for _, _, result in cells if result), None):
        line.at = texts.number(f"{result.path}:{result.line}")
        line.again = texts.number(again(replace(result, runtime=RUNTIME), facts))
    return line


def _broken(result: Result | None, texts: Texts) -> tuple[Broken, ...]:
    if result is None:
        return ()
    return tuple((texts.number(each.expression), each.line, texts.parts(each.values)) for each in result.failures)
