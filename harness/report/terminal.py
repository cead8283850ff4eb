"""The matrix of checks and runtimes as plain text, readable at 80 columns and without colours."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any, NamedTuple

from harness import environment
from harness.matrix import Difference, Matrix
from harness.results import Result, Results, one_line, printable
from harness.timing import Timing

FILE = ""
MATRIX = ""
WIDTH = 80
LABEL = 30
CELL = 11
LONGEST_NAME = 10  # of a runtime or its options, above a column
OUTCOMES = ("pass", "fail", "error", "skip", "xfail")
STANDINGS = ("proven", "cannot be shown here", "not proven")
COLOURS = {
    "pass": "green",
    "fail": "red",
    "error": "red",
    "skip": "yellow",
    "xfail": "yellow",
    "unproven": "red",
    "proven": "green",
    "cannot be shown here": "yellow",
    "not proven": "red",
}


class Piece(NamedTuple):
    """Some text and the colour that it may be shown in ("" for none)."""

    text: str
    colour: str = ""


Line = list[Piece]
Cells = tuple[str, list[Piece]]  # what a row of a table is called, and a piece for each column


def render(results: Results) -> str:
    """Matrix, findings and environment as one text."""
    blocks = [failure(result, results.environment) for result in results.results if result.outcome in ("fail", "error")]
    matrix = "\n".join("".join(piece.text for piece in line) for line in lines(results)).rstrip()
    return "\n\n".join([*blocks, matrix]) + "\n"


def lines(results: Results, width: int = WIDTH, brief: bool = False) -> Iterator[Line]:
    """The matrix by area with its totals, the reasons of what was skipped or known to fail, and what it was run on.

    `brief` leaves out the checks, the knobs and where the time went, and shows the areas alone.
    """
    yield from table([runtime.name for runtime in results.runtimes], _rows(results, brief), width)
    yield from _reasons(results, width)
    if not brief:
        yield from _reaches(results, width)
    for runtime in results.runtimes:
        yield [Piece(f"{runtime.name}: "), Piece(runtime.missing or runtime.version, "red" if runtime.missing else "")]
    texts = [f"on {environment.one_line(results.environment)}"]
    if results.timing and not brief:
        texts.append(f"time {_time(results.timing)}")
    for text in texts:
        yield from ([Piece(line)] for line in wrap(text, width, subsequent_indent="   "))


def render_matrix(matrix: Matrix) -> str:
    """How many of the checks of each area that were made have passed, the totals, and what they were run on."""
    rows: list[Cells] = [
        (area, [_count(matrix.made(runtime.name, area)) for runtime in matrix.runtimes]) for area in matrix.areas
    ]
    rows += [
        ("", [Piece("")] * len(matrix.runtimes)),
        *_totals([matrix.outcomes(each.name) for each in matrix.runtimes]),
    ]
    found = list(table([runtime.name for runtime in matrix.runtimes], rows, WIDTH))
    found += [[Piece(line)] for each in matrix.runtimes for line in wrap(one_line(told(each)), WIDTH)]
    for run in matrix.runs:
        text = f"on {environment.one_line(run.environment)}; {run.started}"
        found += [[Piece(line)] for line in wrap(one_line(text), WIDTH, subsequent_indent="   ")]
    return "".join(f"{printable(''.join(piece.text for piece in line)).rstrip()}\n" for line in found)


def told(runtime: Any) -> str:
    """A runtime and its version, or why it is missing."""
    return f"{runtime.name}: {runtime.missing or runtime.version}"


def differences(found: list[Difference]) -> Iterator[str]:
    """A line for each check whose verdicts differ: its name and both, `-` where it was not made."""
    cells = []
    for each in found:
        left, right = (cell.text() if cell else "-" for cell in each.cells)
        one, other = each.runtimes
        cells.append((each.check, f"{one}: {left}", right if one == other else f"{other}: {right}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for check, left, right in cells:
        yield printable(f"{check:<{widths[0]}}  {left:<{widths[1]}} -> {right}").replace("\n", "\\n")


def table(names: list[str], rows: Iterable[Cells], width: int) -> Iterator[Line]:
    """The rows with a column for each name, of which what stands behind a colon has a line of its own, and its kernel.

    Where not all columns fit in the width, the rows are repeated for the next ones. A blank line is behind each part.
    """
    headings = [[_ending(part) for part in _parts(name)] for name in names]
    above: list[Cells] = [("", list(map(Piece, line))) for line in zip(*headings, strict=True) if any(line)]
    rows = [*above, *rows]
    cell = max([CELL, *(len(part) + 2 for heading in headings for part in heading)])
    fit = max((width - LABEL) // cell, 1)
    label = max(width - cell * min(fit, len(names)), LABEL)
    for first in range(0, len(names), fit):
        for name, cells in rows:
            *padded, last = cells[first : first + fit]
            text = _shortened(name, label - 2).ljust(label)
            yield [Piece(text), *(Piece(piece.text.ljust(cell), piece.colour) for piece in padded), last]
        yield []


def _parts(name: str) -> tuple[str, str, str]:
    """Runtime, options and kernel of a column: `docker:as-shipped on Linux 6.1`."""
    asked, _, kernel = name.partition(" on ")
    runtime, _, options = asked.partition(":")
    return runtime, options, kernel


def _rows(results: Results, brief: bool) -> Iterator[Cells]:
    runtimes = [runtime.name for runtime in results.runtimes]
    for area, checks in results.areas().items():
        yield area, [_count(results.outcomes(name, area)) for name in runtimes]
        for check, by_runtime in checks.items() if not brief else ():
            yield f"  {check}", [_cell(by_runtime.get(name)) for name in runtimes]
    yield "", [Piece("")] * len(runtimes)
    yield from _totals([results.outcomes(name) for name in runtimes])
    standings = [results.standings(name) for name in runtimes]
    for standing in STANDINGS if any(standings) else ():
        yield standing, _numbers(standing, standings)


def _totals(counts: list[Counter[str]]) -> Iterator[Cells]:
    for outcome in OUTCOMES:
        yield outcome, _numbers(outcome, counts)


def _numbers(what: str, counts: list[Counter[str]]) -> list[Piece]:
    return [Piece(str(counted[what]), COLOURS[what] if counted[what] else "") for counted in counts]


def _time(timing: Timing) -> str:
    """Where the time went, in one line: the parts that took a twentieth of it and more, the most first."""
    total = timing.milliseconds
    parts = sorted(timing.by_part().items(), key=lambda part: -part[1])
    told = {name: length for name, length in parts if length >= total / 20}
    told["others"] = total - sum(told.values())
    proofs = sum(timing.of_proofs().values())
    text = f"{total / 1000:.1f} s: " + ", ".join(f"{name} {length / 1000:.1f}" for name, length in told.items())
    text += f"; proofs {proofs / 1000:.1f}" if proofs else ""
    return text + (f"; {timing.processes} processes" if timing.processes > 1 else "")


def failure(result: Result, environment_facts: dict[str, Any], knob: str = "") -> str:
    """Why a check is red, or no proof under a knob, in one block, with the command that shows it again."""
    proof = next((proof for proof in result.proofs if proof.sabotage == knob), None)
    under, outcome = (f" under {knob}", proof.outcome) if proof else ("", result.outcome)
    heading = f"{result.label} on {result.runtime}{under}: {outcome} ({result.severity})"
    text = [f"{result.path}:{result.line}: {heading}"]
    text.append(f"  claim: {result.claim}")
    if reason := proof.reason if proof else result.reason:
        text.extend(_indented("reason: ", reason))
    for broken in result.failures:
        text.append(f"  {broken.path}:{broken.line}: {broken.expression}")
        for part, value in broken.values:
            text.extend(_indented(f"    {part} = ", value))
    text.append(f"  on: {environment.one_line(environment_facts)}")
    text.append(f"  again: {again(result, environment_facts, knob)}")
    return printable("\n".join(text))


def imprecision(deviations: str, knob: str, item: str, line: int, environment_facts: dict[str, Any]) -> str:
    """What a knob did otherwise than recorded, in one block, with the command that shows it again."""
    return "\n".join(
        [
            f"{item.partition('::')[0]}:{line}: {knob}: it does something else than is recorded",
            *_indented("", deviations),
            f"  on: {environment.one_line(environment_facts)}",
            f"  again: pytest --precision=compare '{item}'",
        ]
    )


def again(result: Result, environment_facts: dict[str, Any], knob: str = "") -> str:
    """The command that runs one check again, or its proof by a knob; with the image, where there was one."""
    options = "" if result.runtime == "builtin" else f" --runtime {shlex.quote(result.runtime)}"
    options += " --prove" if knob else ""
    if image := environment_facts.get("image"):
        options += f" --rootfs {shlex.quote(image['path'])}"
    item = "-".join(filter(None, (result.runtime, result.shape, knob)))
    return f"pytest{options} '{result.path}::{result.check}[{item}]'"


def _cell(result: Result | None) -> Piece:
    """The outcome, and how many of the tried proofs held: `pass 2/2`, or `pass 0/0` where red cannot be shown here."""
    if result is None:
        return Piece("-")
    outcome = result.outcome or "-"
    if not result.proofs or outcome in ("skip", "xfail"):
        return Piece(outcome, COLOURS.get(outcome, ""))
    tried = [proof for proof in result.proofs if proof.outcome != "skip"]
    if not tried:
        return Piece(f"{outcome} 0/0", COLOURS["cannot be shown here"])
    proven = sum(proof.outcome == "proven" for proof in tried)
    colour = COLOURS.get(outcome, "") if proven == len(tried) else COLOURS["unproven"]
    return Piece(f"{outcome} {proven}/{len(tried)}", colour)


def _count(outcomes: Counter[str]) -> Piece:
    """How many of an area's checks passed: `3 of 4`; the worst outcome gives the colour."""
    if not outcomes.total():
        return Piece("-")
    worst = next(outcome for outcome in ("error", "fail", "skip", "xfail", "pass") if outcomes[outcome])
    return Piece(f"{outcomes['pass']} of {outcomes.total()}", COLOURS[worst])


def _reasons(results: Results, width: int) -> Iterator[Line]:
    """What was skipped or is a known finding, and proofs that do not hold, folded by their reason."""
    folded: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for result in results.results:
        if result.outcome in ("skip", "xfail"):
            folded[result.outcome, result.runtime, result.reason].append(result.label)
        for proof in result.missing_proofs():
            what = "cannot be shown" if proof.outcome == "skip" else "unproven"
            folded[what, result.runtime, proof.reason].append(f"{result.label} ({proof.sabotage})")
    for (what, runtime, reason), checks in folded.items():
        text = f"{what} on {runtime}, {len(checks)} x: {one_line(reason)}"
        yield from ([Piece(part, COLOURS.get(what, "yellow"))] for part in wrap(text, width))
        yield [Piece(f"  {_shortened(', '.join(checks), width - 2)}")]
    if folded:
        yield []


def _reaches(results: Results, width: int) -> Iterator[Line]:
    """What each knob turned red, and what it left without a verdict; the checks that name it first."""
    if not results.reaches:
        return
    yield [Piece("red under each sabotage: its own checks; others; without a verdict")]
    for reach in results.reaches:
        others = f"; others: {', '.join(reach.others_red())}" if reach.others_red() else ""
        errors = f"; without a verdict: {', '.join(reach.error)}" if reach.error else ""
        text = f"{reach.sabotage}: {', '.join(reach.own_red()) or 'none'}{others}{errors}"
        colour = "" if reach.own_red() else COLOURS["cannot be shown here"]
        yield from (
            [Piece(part, colour)]
            for part in wrap(text, width - 2, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        )
    yield []


def _indented(label: str, text: str) -> list[str]:
    """A labelled text whose further lines stand below its first."""
    first, *others = text.splitlines() or [""]
    return [f"  {label}{first}", *(f"  {' ' * len(label)}{other}" for other in others)]


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _ending(text: str) -> str:
    """A name above a column, or as much of its end as fits there: that of a path tells more than its beginning."""
    return text if len(text) <= LONGEST_NAME else f"…{text[1 - LONGEST_NAME :]}"
