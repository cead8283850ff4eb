"""The ladder and the plan of a container as a page: what each kernel feature isolates, and what it takes to have it.

Two sections, `page/ladder.html` and `page/plan.html`, with all that they show worked out here.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.bench.phases import last_times
from harness.errors import BadInput
from harness.ladder import record
from harness.ladder.added import HOST
from harness.ladder.record import Climber, Ladder, ToldRung
from harness.report import _page
from harness.runtime.config import read
from harness.runtime.plan import CLONE, parts, plan
from harness.runtime.profile import profile
from harness.runtime.spec import example
from harness.severities import SEVERITIES
from harness.sources import PAGE, address

STYLE = "container.css"

BENCHMARK = "benchmark.json"  # whose times are told
NOTHING: dict[str, Any] = {"ladder": None, "parts": []}  # for a page that has neither

Pieces = list[tuple[str, str]]  # text, and where it leads, "" for nowhere


class Rung(NamedTuple):
    """A rung with its figures; `bar` are the parts of a bar 100 wide: what held below, what holds now besides."""

    number: int
    told: ToldRung
    page: Pieces
    steps: list[tuple[str, Pieces, list[str]]]
    held: int
    turned: list[Climber]
    left: Counter[str]  # what is open, by severity
    example: Climber | None
    bar: tuple[float, float]


class PlannedStep(NamedTuple):
    """A step of the plan with its median in microseconds, and that as a share of the longest, in percent."""

    name: str
    why: Pieces
    calls: list[str]
    time: float | None
    share: float


class Part(NamedTuple):
    """Some steps of the plan, by whom they are made and when."""

    title: str
    steps: list[PlannedStep]


def render(ladder: Ladder, times: Mapping[str, float], source: str) -> str:
    """Both sections as a page of their own; `times` are those of steps, in microseconds, and `source` says whose."""
    style = _page.piece(STYLE)
    return _page.rendered("container.html", style, severities=SEVERITIES, **sections(ladder, times, source))


def beside(folder: Path) -> dict[str, Any]:
    """What the sections show that stand in a page with what a folder has: no ladder, and no times, where it has none.

    A ladder that cannot be read is none; `isoproof ladder RUNG` says what is wrong with it.
    """
    try:
        ladder = record.read(folder / record.FILE)
    except BadInput:
        ladder = None
    return sections(ladder, *last_times(folder / BENCHMARK))


def sections(ladder: Ladder | None, times: Mapping[str, float], source: str) -> dict[str, Any]:
    """What the templates of both sections are filled with."""
    return {"ladder": ladder, "rungs": rungs(ladder) if ladder else [], "parts": planned(times), "source": source}


def rungs(ladder: Ladder) -> list[Rung]:
    """Return every rung, from the bottom up."""
    checks = {check.name: check for check in ladder.checks}
    whole = max(1, len(checks))
    found = []
    for number, told in enumerate(ladder.rungs):
        held, turned = len(ladder.green(number - 1)), ladder.turned(number)
        found.append(
            Rung(
                number,
                told,
                pieces(told.page),
                [(step.name, pieces(step.why), step.calls) for step in told.steps],
                held,
                turned,
                Counter(check.severity for check in ladder.open(number)),
                checks[told.example.check] if told.example else None,
                (round(100 * held / whole, 2), round(100 * len(turned) / whole, 2)),
            )
        )
    return found


def planned(times: Mapping[str, float]) -> list[Part]:
    """Return the plan of the usual container, which is the one that the benchmark times."""
    config = example(0, 0)
    config["linux"]["seccomp"] = profile(config["process"]["capabilities"]["bounding"], HOST.machine)
    config["process"]["args"] = ["/program"]
    longest = max(times.values(), default=1.0)
    found = []
    for title, steps in parts(plan(read(config), HOST)):
        told = [(step.name, pieces(step.why), [*map(str, step.calls)]) for step in steps]
        if title.startswith("clone3"):
            call, _, title = title.partition("; ")
            told.insert(0, (CLONE, pieces("a process is born into new namespaces: clone(2)"), [call]))
        rows = [PlannedStep(*row, times.get(row[0]), round(100 * times.get(row[0], 0.0) / longest, 2)) for row in told]
        if rows:
            found.append(Part(title, rows))
    return found


def pieces(text: str) -> Pieces:
    """Return a text in pieces; its manual pages lead to where they can be read."""
    found: Pieces = []
    end = 0
    for page in PAGE.finditer(text):
        found += [(text[end : page.start()], ""), (page[0], address(page[0]))]
        end = page.end()
    return [piece for piece in (*found, (text[end:], "")) if piece[0]]
