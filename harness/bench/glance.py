"""The answers that people look for first, taken from all sections: what takes how many times as long as what.

An aim is what our own runtime is to reach. It is a ratio, for milliseconds differ from machine to machine; it is missed
where a rank test says that this is no chance.
"""

from collections.abc import Mapping
from typing import NamedTuple

from harness import latency
from harness.bench import concurrency, runtimes
from harness.bench.layouts import Rows, figure, ratio
from harness.bench.series import Quantity, Section, Series

TITLE = "At a glance"
WORDS = (
    "Medians in milliseconds, to the first instruction inside or, where that is said, to the end; for each of "
    "several at once. ≈ where a rank test says that the difference may be chance. What has no figures was not measured."
)


class Question(NamedTuple):
    """Two series of a section, and how many times as long the first may take as the second, where there is an aim."""

    section: str
    label: str
    other: str
    aim: float | None = None
    quantity: Quantity = "first"


QUESTIONS = (
    Question(runtimes.NAME, "builtin", "floor", 1.05),
    Question(runtimes.NAME, "builtin", "bubblewrap", 0.5),
    Question(runtimes.NAME, "builtin", "crun", 0.2),
    Question(runtimes.NAME, "builtin", "runc", 0.06),
    Question(runtimes.NAME, "builtin-pooled", "floor", 0.5),
    Question(runtimes.NAME, "isoproof-run", "python", 1.5, quantity="clean"),
    Question(runtimes.NAME, "isoproof-run", "runc", 0.5),
    Question("concurrency", f"builtin, {max(concurrency.COUNTS)} at once", "builtin, 1 at once", 1.3),
    Question("alive", "builtin, 1000 alive", "builtin, 0 alive", 1.7),
    Question("launcher-size", "replay, 300 MB more", "replay, 0 MB more", 1.05),
)


def rows(sections: Mapping[str, Section]) -> Rows:
    """Return a row for each question whose section was measured."""
    found = [["", "takes", "the other", "times as long", "aim"]]
    for question in QUESTIONS:
        if question.section in sections:
            series = sections[question.section].series
            found.append(_row(question, *(series.get(label, Series()) for label in (question.label, question.other))))
    return found


def _row(question: Question, own: Series, other: Series) -> list[str]:
    quantity = question.quantity
    values = own.values(quantity), other.values(quantity)
    end = ", to the end" if quantity == "clean" else ""
    aim = f"at most {question.aim:g}" if question.aim else ""
    if question.aim and all(values) and _is_missed(*values, question.aim):
        aim += ": missed"
    times = ratio(*values) if all(values) else ""
    return [
        f"{question.label} against {question.other}{end}",
        figure(own, quantity),
        figure(other, quantity),
        times,
        aim,
    ]


def _is_missed(own: list[int], other: list[int], aim: float) -> bool:
    """Return whether one takes surely more than so many times as long as the other."""
    found = latency.compare(own, [round(value * aim) for value in other])
    return found.ratio > 1 and found.deviations > latency.SURE
