"""A run on a terminal: how much of each area holds, and why what does not hold does not.

It is readable at 80 columns and less, and without colours. What matters most stands last, where the eye is when a run
has ended; what is the same many times is told once, with how often.
"""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any

from harness import environment
from harness.matrix import Difference, Matrix
from harness.report._text import PLAIN, WIDTH, Cells, Line, Look, Piece, enumerated, plain, table, written
from harness.results import Result, Results, one_line
from harness.severities import SEVERITIES
from harness.timing import Timing

FILE = ""
MATRIX = ""
MOST = 5  # reasons of a kind that are told where not all are asked for
OUTCOMES = ("pass", "fail", "error", "skip", "xfail")
STANDINGS = ("proven", "cannot be shown here", "not proven")
COLOURS = {
    "pass": "green",
    "fail": "red",
    "error": "red",
    "unproven": "red",
    "xfail": "yellow",
    "skip": "yellow",
    "cannot be shown": "yellow",
}
SIGNS = {"error": "E", "fail": "F", "unproven": "u", "xfail": "x", "skip": "s"}  # the worst first, as pytest has them
KINDS = ("skip", "cannot be shown", "xfail", "unproven", "error", "fail")  # of reasons, the worst last
RED = ("unproven", "error", "fail")


def render(results: Results, look: Look = PLAIN) -> str:
    """What is red, one by one, and then what `lines` says, as one text."""
    blocks: list[Line] = []
    for result in results.results:
        if result.outcome in RED:
            heading, *rest = failure(result, results.environment).splitlines()
            blocks += [[Piece(heading, "red")], *([Piece(line)] for line in rest), []]
    return written([*blocks, *lines(results, look.width, look.verbosity)], look.coloured)


def lines(results: Results, width: int = WIDTH, verbosity: int = 0) -> Iterator[Line]:
    """The matrix of areas and runtimes, the reasons of what does not hold, the machine, the totals of each runtime.

    `verbosity` is as with pytest: 0 for the areas and the commonest reasons, 1 for every check and every reason. -1
    leaves out the reasons of what is no failure, and where the time went; -2 all but failures and a line of totals.
    """
    runtimes = [runtime.name for runtime in results.runtimes]
    if verbosity > -2:
        counts = _by_area(results)
        yield from table(runtimes, _rows(results, counts, verbosity > 0), width)
        yield from _legend(counts.values(), width)
    yield from _reasons(results, width, verbosity)
    if verbosity < -1:
        for name in runtimes:
            yield from _total(name, results.outcomes(name), width)
        return
    if verbosity > 0:
        yield from _reaches(results, width)
    yield from _versions(results.runtimes, width)
    texts = [f"on {environment.one_line(results.environment)}"]
    if results.timing and verbosity > -1:
        texts.append(f"time {_time(results.timing)}")
    for text in texts:
        yield from _wrapped(text, width)
    yield []
    outcomes = {name: results.outcomes(name) for name in runtimes}
    yield from _totals(outcomes, {name: results.standings(name) for name in runtimes}, width)


def render_matrix(matrix: Matrix, look: Look = PLAIN) -> str:
    """How many of the checks of each area that were made have passed, what they were run on, and the totals."""
    runtimes = [runtime.name for runtime in matrix.runtimes]
    counts = {area: [matrix.made(name, area) for name in runtimes] for area in matrix.areas}
    found = list(table(runtimes, [(area, list(map(_count, mine))) for area, mine in counts.items()], look.width))
    found += _legend((count for mine in counts.values() for count in mine), look.width)
    found += _versions(matrix.runtimes, look.width)
    for run in matrix.runs:
        text = f"on {environment.one_line(run.environment)}; {run.started}"
        found += _wrapped(text, look.width)
    found.append([])
    found += _totals({name: matrix.outcomes(name) for name in runtimes}, {}, look.width)
    return written(found, look.coloured).rstrip("\n") + "\n"


def differences(found: list[Difference]) -> Iterator[str]:
    """A line for each check whose verdicts differ: its name and both, `-` where it was not made."""
    cells = []
    for each in found:
        left, right = (cell.text() if cell else "-" for cell in each.cells)
        one, other = each.runtimes
        cells.append((each.check, f"{one}: {left}", right if one == other else f"{other}: {right}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for check, left, right in cells:
        yield plain(f"{check:<{widths[0]}}  {left:<{widths[1]}} -> {right}")


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
    return "\n".join(map(plain, text))


def imprecision(deviations: str, knob: str, item: str, line: int, environment_facts: dict[str, Any]) -> str:
    """What a knob did otherwise than recorded, in one block, with the command that shows it again."""
    text = [
        f"{item.partition('::')[0]}:{line}: {knob}: it does something else than is recorded",
        *_indented("", deviations),
        f"  on: {environment.one_line(environment_facts)}",
        f"  again: {_command(environment_facts)} {shlex.quote(item)} --precision=compare",
    ]
    return "\n".join(map(plain, text))


def again(result: Result, environment_facts: dict[str, Any], knob: str = "") -> str:
    """The command that runs one check again, or its proof by a knob; with the image, where there was one."""
    options = "" if result.runtime == "builtin" else f" --runtime {shlex.quote(result.runtime)}"
    options += " --prove" if knob else ""
    if image := environment_facts.get("image"):
        options += f" --rootfs {shlex.quote(image['path'])}"
    return f"{_command(environment_facts)} {shlex.quote(f'{result.path}::{item(result, knob)}')}{options}"


def item(result: Result, knob: str = "") -> str:
    """What the check, or its proof by a knob, is called among the items of its file."""
    return f"{result.check}[{'-'.join(filter(None, (result.runtime, result.shape, knob)))}]"


def _command(environment_facts: dict[str, Any]) -> str:
    """The command that makes checks: `pytest`, or `isoproof verify`; older results do not say."""
    return shlex.join(environment_facts.get("command", ["pytest"]))


def _rows(results: Results, counts: dict[tuple[str, str], Counter[str]], every_check: bool) -> Iterator[Cells]:
    """A row for each area, and if they are wanted for its checks, with the shapes that they were made in below."""
    runtimes = [runtime.name for runtime in results.runtimes]
    for area, checks in results.areas().items():
        yield area, [_count(counts[area, name]) for name in runtimes]
        above = ""
        for label, by_runtime in checks.items() if every_check else ():
            told = next(iter(by_runtime.values()))
            name = f"  [{told.shape}]" if told.shape and told.check == above else label
            above = told.check
            yield f"  {name}", [_cell(by_runtime.get(runtime)) for runtime in runtimes]


def _by_area(results: Results) -> dict[tuple[str, str], Counter[str]]:
    """How often each outcome was seen by area and runtime, and how many checks are not proven though they hold."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for result in results.results:
        count = counts[result.area, result.runtime]
        count[result.outcome or ""] += 1
        count["unproven"] += result.outcome not in RED and result.standing() == "not proven"
    return counts


def _count(outcomes: Counter[str]) -> Piece:
    """How many of an area's checks passed, and signs of what the others did: `35/42 Fs`; the worst gives the colour."""
    signs = [what for what in SIGNS if outcomes[what]]
    total = sum(outcomes[what] for what in OUTCOMES)
    text = f"{outcomes['pass']}/{total}" if total else "-"
    return Piece(
        " ".join(filter(None, (text, "".join(SIGNS[sign] for sign in signs)))),
        COLOURS[signs[0]] if signs else COLOURS["pass"] if total else "",
    )


def _legend(counts: Iterable[Counter[str]], width: int) -> Iterator[Line]:
    """What those signs mean that stand in the cells of areas."""
    used = {what for outcomes in counts for what in SIGNS if outcomes[what]}
    if used:
        yield from _wrapped(", ".join(f"{sign} {what}" for what, sign in SIGNS.items() if what in used), width)
        yield []


def _totals(counts: dict[str, Counter[str]], standings: dict[str, Counter[str]], width: int) -> Iterator[Line]:
    """A row for each runtime, with how often it had each outcome, and how many of its checks are proven."""
    proven = any(standings.values())
    rows: list[Cells] = []
    for name, outcomes in counts.items():
        cells = [Piece(f"{outcomes[what]:>{len(what)}}", COLOURS[what] if outcomes[what] else "") for what in OUTCOMES]
        rows.append((name, [*cells, *([_proven(standings[name])] if proven else [])]))
    yield from table([*OUTCOMES, *(["proven"] if proven else [])], rows, width)


def _proven(standings: Counter[str]) -> Piece:
    """How many of the checks that were to be proven are."""
    colours = {"not proven": "red", "cannot be shown here": "yellow", "proven": "green"}
    colour = next((colour for standing, colour in colours.items() if standings[standing]), "")
    return Piece(f"{standings['proven']}/{standings.total()}", colour)


def _total(runtime: str, outcomes: Counter[str], width: int) -> Iterator[Line]:
    """The totals of a runtime in one line, without what there is none of."""
    told = [f"{outcomes[what]} {what}" for what in OUTCOMES if outcomes[what]]
    worst = next((what for what in (*SIGNS, "pass") if outcomes[what]), "")
    return _wrapped(f"{runtime}: {', '.join(told) or 'nothing was made'}", width, COLOURS.get(worst, ""))


def _versions(runtimes: Iterable[Any], width: int) -> Iterator[Line]:
    """The runtimes with their versions, and of each that is missing a line with the reason."""
    for each in runtimes:
        if each.missing:
            yield from _wrapped(f"{each.name} is missing: {each.missing}", width, "red")
    if here := [f"{each.name} {each.version}" for each in runtimes if not each.missing]:
        yield from _wrapped(f"with {', '.join(here)}", width)


def _wrapped(text: str, width: int, colour: str = "") -> Iterator[Line]:
    """A text in as many lines as it takes; further ones are told by being indented."""
    lines = wrap(one_line(text), width, subsequent_indent="  ", break_on_hyphens=False)
    return ([Piece(line, colour)] for line in lines)


def _reasons(results: Results, width: int, verbosity: int) -> Iterator[Line]:
    """Why checks do not hold, were not made or are not proven, the worst last, folded by what they have in common."""
    folded = _folded(results)
    for kind in RED if verbosity < 0 else KINDS:
        mine = sorted((each for each in folded.items() if each[0][0] == kind), key=lambda each: -len(each[1]))
        told = mine if verbosity > 0 else mine[:MOST]
        for (_, reason), found in told:
            runtimes = enumerated(list(dict.fromkeys(runtime for runtime, _ in found)), width // 2)
            yield from _wrapped(f"{kind} on {runtimes}, {len(found)} x: {reason}", width, COLOURS[kind])
            if kind in RED or verbosity > 0:
                yield [Piece(f"  {enumerated(list(dict.fromkeys(check for _, check in found)), width - 2)}")]
        if rest := mine[len(told) :]:
            number = sum(len(found) for _, found in rest)
            text = f"{kind}, {number} x more, for {len(rest)} other reasons: -v tells them"
            yield from _wrapped(text, width, COLOURS[kind])
    if folded:
        yield []


def _folded(results: Results) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """What was red, skipped, known to fail or not proven, by kind and reason: on which runtime, and which check."""
    folded: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for result in results.results:
        if result.outcome in ("skip", "xfail", "error"):
            folded[result.outcome, result.reason].append((result.runtime, result.label))
        elif result.outcome == "fail":
            reason = result.reason or f"{result.severity}: {SEVERITIES.get(result.severity, '')}"
            folded["fail", reason].append((result.runtime, result.label))
        for proof in result.missing_proofs():
            kind = "cannot be shown" if proof.outcome == "skip" else "unproven"
            folded[kind, proof.reason].append((result.runtime, f"{result.label} ({proof.sabotage})"))
    return folded


def _cell(result: Result | None) -> Piece:
    """The outcome, and how many of the tried proofs held: `pass 2/2`, or `pass 0/0` where red cannot be shown here."""
    if result is None:
        return Piece("-")
    outcome = result.outcome or "-"
    if not result.proofs or outcome in ("skip", "xfail"):
        return Piece(outcome, COLOURS.get(outcome, ""))
    tried = [proof for proof in result.proofs if proof.outcome != "skip"]
    if not tried:
        return Piece(f"{outcome} 0/0", COLOURS["cannot be shown"])
    proven = sum(proof.outcome == "proven" for proof in tried)
    colour = COLOURS.get(outcome, "") if proven == len(tried) else COLOURS["unproven"]
    return Piece(f"{outcome} {proven}/{len(tried)}", colour)


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


def _reaches(results: Results, width: int) -> Iterator[Line]:
    """What each knob turned red, and what it left without a verdict; the checks that name it first."""
    if not results.reaches:
        return
    yield [Piece("red under each sabotage: its own checks; others; without a verdict")]
    for reach in results.reaches:
        others = f"; others: {', '.join(reach.others_red())}" if reach.others_red() else ""
        errors = f"; without a verdict: {', '.join(reach.error)}" if reach.error else ""
        text = f"{reach.sabotage}: {', '.join(reach.own_red()) or 'none'}{others}{errors}"
        colour = "" if reach.own_red() else COLOURS["cannot be shown"]
        yield from (
            [Piece(part, colour)]
            for part in wrap(text, width - 2, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        )
    yield []


def _indented(label: str, text: str) -> list[str]:
    """A labelled text whose further lines stand below its first."""
    first, *others = text.splitlines() or [""]
    return [f"  {label}{first}", *(f"  {' ' * len(label)}{other}" for other in others)]
