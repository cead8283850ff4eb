"""The matrix of checks and runtimes as plain text, readable at 80 columns and without colours."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from harness import environment
from harness.results import Result, Results, printable

FILE = ""
WIDTH = 80
CELL = 11
OUTCOMES = ("pass", "fail", "error", "skip", "xfail")
COLOURS = {
    "pass": "green",
    "fail": "red",
    "error": "red",
    "skip": "yellow",
    "xfail": "yellow",
    "unproven": "red",
}


class Piece(NamedTuple):
    """Some text and the colour that it may be shown in ("" for none)."""

    text: str
    colour: str = ""


Line = list[Piece]


def render(results: Results) -> str:
    """Matrix, findings and environment as one text."""
    blocks = [failure(result, results.environment) for result in results.results if result.outcome in ("fail", "error")]
    matrix = "\n".join("".join(piece.text for piece in line).rstrip() for line in lines(results))
    return "\n\n".join([*blocks, matrix]) + "\n"


def lines(results: Results, width: int = WIDTH, brief: bool = False) -> Iterator[Line]:
    """The matrix by area with its totals, then the reasons of what was skipped or known to fail.

    `brief` leaves out the checks and shows the areas alone.
    """
    runtimes = [runtime.name for runtime in results.runtimes]
    cell = max([CELL, *(len(name) + 2 for name in runtimes)])
    label = max(width - cell * len(runtimes), 30)
    yield [Piece(" " * label), *(Piece(name.ljust(cell)) for name in runtimes)]
    for area, checks in results.areas().items():
        yield [Piece(area.ljust(label)), *(_area_cell(results, name, area, cell) for name in runtimes)]
        for check, by_runtime in checks.items() if not brief else ():
            yield [
                Piece(f"  {_shortened(check, label - 4)}".ljust(label)),
                *(_cell(by_runtime.get(name), cell) for name in runtimes),
            ]
    yield []
    for outcome in OUTCOMES:
        counts = [results.outcomes(name)[outcome] for name in runtimes]
        yield [
            Piece(outcome.ljust(label)),
            *(Piece(str(count).ljust(cell), COLOURS[outcome] if count else "") for count in counts),
        ]
    proofs = [results.proofs(name) for name in runtimes]
    if any(tried for _, tried in proofs):
        yield [Piece("proven".ljust(label)), *(_proven_cell(proven, tried, cell) for proven, tried in proofs)]
    yield from _reasons(results, width)


def failure(result: Result, environment_facts: dict[str, Any], knob: str = "") -> str:
    """Why a check is red, or no proof under a knob, in one block, with the command that shows it again."""
    proof = next((proof for proof in result.proofs if proof.sabotage == knob), None)
    under, outcome = (f" under {knob}", proof.outcome) if proof else ("", result.outcome)
    heading = f"{result.check} on {result.runtime}{under}: {outcome} ({result.severity})"
    text = [f"{result.path}:{result.line}: {heading}"]
    text.append(f"  claim: {result.claim}")
    if reason := proof.reason if proof else result.reason:
        text.extend(_indented("reason: ", reason))
    for broken in result.failures:
        text.append(f"  {broken.path}:{broken.line}: {broken.expression}")
        for part, value in broken.values:
            text.extend(_indented(f"    {part} = ", value))
    text.append(f"  on: {environment.one_line(environment_facts)}")
    text.append(f"  again: {again(result, knob)}")
    return printable("\n".join(text))


def again(result: Result, knob: str = "") -> str:
    """The command that runs one check again, or its proof by a knob."""
    options = ("" if result.runtime == "builtin" else f" --runtime {result.runtime}") + (" --prove" if knob else "")
    item = f"{result.runtime}-{knob}" if knob else result.runtime
    return f"pytest{options} '{result.path}::{result.check}[{item}]'"


def _cell(result: Result | None, width: int) -> Piece:
    """The outcome, and how many of the tried proofs held: `pass 2/2`."""
    if result is None:
        return Piece("-".ljust(width))
    outcome = result.outcome or "-"
    tried = [proof for proof in result.proofs if proof.outcome != "skip"]
    if not tried:
        return Piece(outcome.ljust(width), COLOURS.get(outcome, ""))
    proven = sum(proof.outcome == "proven" for proof in tried)
    colour = COLOURS.get(outcome, "") if proven == len(tried) else COLOURS["unproven"]
    return Piece(f"{outcome} {proven}/{len(tried)}".ljust(width), colour)


def _area_cell(results: Results, runtime: str, area: str, width: int) -> Piece:
    """How many of an area's checks passed: `3 of 4`; the worst outcome gives the colour."""
    outcomes = results.outcomes(runtime, area)
    if not outcomes.total():
        return Piece("-".ljust(width))
    worst = next(outcome for outcome in ("error", "fail", "skip", "xfail", "pass") if outcomes[outcome])
    return Piece(f"{outcomes['pass']} of {outcomes.total()}".ljust(width), COLOURS[worst])


def _proven_cell(proven: int, tried: int, width: int) -> Piece:
    if not tried:
        return Piece("-".ljust(width))
    return Piece(f"{proven} of {tried}".ljust(width), COLOURS["pass" if proven == tried else "unproven"])


def _reasons(results: Results, width: int) -> Iterator[Line]:
    """What was skipped or is a known finding, and proofs that do not hold, folded by their reason."""
    folded: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for result in results.results:
        if result.outcome in ("skip", "xfail"):
            folded[result.outcome, result.runtime, result.reason].append(result.check)
        for proof in result.proofs:
            if proof.outcome == "skip":
                folded["no proof", result.runtime, proof.reason].append(f"{result.check} ({proof.sabotage})")
            elif proof.outcome != "proven":
                folded["unproven", result.runtime, proof.reason].append(f"{result.check} ({proof.sabotage})")
    if folded:
        yield []
    for (what, runtime, reason), checks in folded.items():
        yield [
            Piece(f"{what} on {runtime}, {len(checks)} x: ", COLOURS.get(what, "yellow")),
            Piece(_one_line(reason)),
        ]
        yield [Piece(f"  {_shortened(', '.join(checks), width - 2)}")]


def _indented(label: str, text: str) -> list[str]:
    """A labelled text whose further lines stand below its first."""
    first, *others = text.splitlines() or [""]
    return [f"  {label}{first}", *(f"  {' ' * len(label)}{other}" for other in others)]


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
