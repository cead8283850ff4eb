"""The answer, the findings and the matrix as Markdown, for a pull request or a job summary.

GitHub takes no job summary above 1024 kB, and refuses all of one that is longer. So what is told consists of parts that
stay whole: those that do not fit are left out, and the end says which. Every text that may come from a container is
escaped: it must not become a link, an image or a table of its own.
"""

import html
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from harness import environment
from harness import matrix as matrices
from harness.matrix import SUCCESS, Cell, Matrix
from harness.report.terminal import OUTCOMES, STANDINGS, again
from harness.results import Result, Results, one_line, printable
from harness.severities import SEVERITIES, rank
from harness.timing import PARTS, Timing

FILE = "isolation.md"
MATRIX = "matrix.md"
WHOLE = "isolation.json"
LARGEST = 900 * 1024  # bytes: other steps of a job have something to say, too
LONGEST_VALUE = 1000  # characters; a finding is to be read, and the result list has all of it
SIGNS = {
    "pass": "✅ pass",
    "fail": "❌ **fail**",
    "error": "⚠️ **error**",
    "skip": "skip",
    "xfail": "xfail",
    None: "",
}


class Part(NamedTuple):
    """Some lines that only make sense together, and what they are called where they had to be left out."""

    kind: str
    lines: list[str]

    @property
    def size(self) -> int:
        """How many bytes they take."""
        return sum(len(line.encode()) + 1 for line in self.lines)


def render(results: Results, largest: int = LARGEST) -> str:
    """The answer first, then what is broken, and all else folded away; no more than so many bytes."""
    matrix = matrices.of(results)
    findings = [Part("finding", _finding(result, results)) for result in _broken(results)]
    parts = [
        Part("answer", _answer(results)),
        *([Part("heading", ["## What is broken", ""])] if findings else []),
        *_fitting(findings, largest // 2, WHOLE),
        Part("table of areas", _areas(matrix)),
        *(Part("area", _folded_area(results, area, checks)) for area, checks in results.areas().items()),
        *(Part("list of reasons", lines) for lines in _told_reasons(matrix, findings=False)),
        Part("list of proofs", _proofs(results)),
        Part("list of sabotages", _reaches(results)),
        Part("list of times", _time(results.timing)),
    ]
    return _text(_fitting(parts, largest, WHOLE))


def render_matrix(matrix: Matrix) -> str:
    """Who was put under test and how it went, by area and by check, and why what did not pass did not."""
    parts = [
        Part("heading", ["# Isolation of container runtimes", "", *_runs(matrix)]),
        Part("table of runtimes", _runtimes(matrix)),
        Part("table of areas", _areas(matrix)),
        *(Part("area", _area(matrix, area)) for area in matrix.areas),
        *(Part("list of reasons", lines) for lines in _told_reasons(matrix)),
    ]
    return _text(_fitting(parts, LARGEST, "matrix.json"))


def _fitting(parts: Iterable[Part], largest: int, whole: str) -> Iterator[Part]:
    """The parts that fit, each of them whole, and one that counts those that do not; `whole` has all of them."""
    left = largest - 200  # for that last one
    missing: Counter[str] = Counter()
    for part in parts:
        if part.size <= left:
            left -= part.size
            yield part
        else:
            missing[part.kind] += 1
    if missing:
        told = ", ".join(f"{count} x {kind}" for kind, count in missing.items())
        yield Part("", [f"… left out here, for it would be too long: {told}. {whole} has all of it.", ""])


def _text(parts: Iterable[Part]) -> str:
    """The lines of all parts, without the empty one after the last."""
    return "\n".join(line for part in parts for line in part.lines).rstrip("\n") + "\n"


def _runs(matrix: Matrix) -> list[str]:
    return [*(f"- {escaped(f'{run.started}: {environment.one_line(run.environment)}')}" for run in matrix.runs), ""]


def _runtimes(matrix: Matrix) -> list[str]:
    rows = [
        [
            runtime.name,
            runtime.missing or runtime.version,
            *(str(matrix.outcomes(runtime.name)[outcome]) for outcome in OUTCOMES),
            runtime.command,
        ]
        for runtime in matrix.runtimes
    ]
    legend = (
        "A check passes where the container shows what is claimed. xfail is a known finding, told below, skip a check "
        "that cannot be made there, error one without a trustworthy observation. In brackets stands with which errno "
        f"the attempts ended that a check looks at: of a red one, {SUCCESS} is an attempt that succeeded."
    )
    return [*_table(["runtime", "version", *OUTCOMES, "started by"], rows), legend, ""]


def _areas(matrix: Matrix) -> list[str]:
    rows = []
    for area in matrix.areas:
        counts = [matrix.made(runtime.name, area) for runtime in matrix.runtimes]
        rows.append([area, *(f"{each['pass']} of {each.total()}" if each else "" for each in counts)])
    return ["## Areas", "", *_table(["passed of those made", *(runtime.name for runtime in matrix.runtimes)], rows)]


def _area(matrix: Matrix, area: str) -> list[str]:
    heading = [_row(["check", "severity", *_names(matrix)]), _row(["---"] * (len(matrix.runtimes) + 2))]
    rows = [
        _row([escaped(check), escaped(row.severity), *(_verdict(row.cells.get(each.name)) for each in matrix.runtimes)])
        for check, row in matrix.areas[area].items()
    ]
    return [f"## {escaped(area)}", "", *heading, *rows, ""]


def _names(matrix: Matrix) -> list[str]:
    return [escaped(runtime.name) for runtime in matrix.runtimes]


def _verdict(cell: Cell | None) -> str:
    if cell is None:
        return ""
    sign = cell.verdict if cell.verdict == "pass" else SIGNS[cell.verdict]  # many columns: what is red must stand out
    return f"{sign} ({escaped(' '.join(cell.errno))})" if cell.errno else sign


def _told_reasons(matrix: Matrix, findings: bool = True) -> Iterator[list[str]]:
    """What does not hold where and why, and of each runtime what it was not asked for; a check once for its shapes.

    Without `findings`, what was not known before is left out, for it is told elsewhere.
    """
    rows = [
        [check, ", ".join(runtimes), verdict, _shortened(reason)]
        for (check, verdict, reason), runtimes in matrix.findings().items()
        if findings or verdict == "xfail"
    ]
    title = "What does not hold" if findings else "What does not hold, as is known"
    if rows:
        yield _folded(f"{title}: {len(rows)}", _table(["check", "runtimes", "", "reason"], rows))
    for column in matrix.runtimes:
        skipped: dict[str, list[str]] = defaultdict(list)
        for _, check, row in matrix.rows():
            cell = row.cells.get(column.name)
            if cell and cell.verdict == "skip":
                skipped[cell.reason].append(check.partition("[")[0])
        if skipped:
            rows = [
                [", ".join(dict.fromkeys(checks)), str(len(checks)), _shortened(reason)]
                for reason, checks in skipped.items()
            ]
            count = sum(map(len, skipped.values()))
            title = f"What {column.name} was not asked for, or cannot be made here: {count}"
            yield _folded(title, _table(["checks", "in all shapes", "reason"], rows))


def _answer(results: Results) -> list[str]:
    """Which runtimes isolate, how much of it is proven, what broke; and where and when that was found out."""
    outcomes = {runtime.name: results.outcomes(runtime.name) for runtime in results.runtimes}
    standings = {runtime.name: results.standings(runtime.name) for runtime in results.runtimes}
    shown = STANDINGS if any(standings.values()) else ()
    runtimes = [
        [
            runtime.name,
            runtime.missing or runtime.version,
            *(str(outcomes[runtime.name][outcome]) for outcome in OUTCOMES),
            *(str(standings[runtime.name][standing]) for standing in shown),
        ]
        for runtime in results.runtimes
    ]
    on = f"{results.started}, {results.milliseconds / 1000:.1f} s, on {environment.one_line(results.environment)}"
    return [
        "# Isolation",
        "",
        "\\\n".join([*_verdicts(results, outcomes), _proven(sum(standings.values(), Counter()))]),
        "",
        *_table(["runtime", "version", *OUTCOMES, *shown], runtimes),
        escaped(on),
        "",
    ]


def _verdicts(results: Results, outcomes: dict[str, Counter[str]]) -> Iterator[str]:
    """What is broken, or that nothing is, and which runtimes have isolated in all that was asked of them."""
    every = sum(outcomes.values(), Counter[str]())
    made = every.total() - every["skip"]
    broken = Counter[str](result.severity for result in results.results if result.outcome == "fail")
    if broken:
        weights = ", ".join(f"{broken[severity]} {severity}" for severity in SEVERITIES if broken[severity])
        yield f"❌ **{broken.total()} of {made} checks do not hold, which was not known: {weights}.**"
    if every["error"]:
        yield f"⚠️ **{every['error']} of {made} could not be judged: nothing is said of them.**"
    if made and every["pass"] == made:
        yield f"✅ **All {made} checks hold.**"
    elif every["pass"]:
        yield f"{every['pass']} of {made} checks hold."
    if every["xfail"]:
        yield f"{every['xfail']} do not, as is known of these runtimes."
    whole = [name for name, counted in outcomes.items() if 0 < counted["pass"] == counted.total() - counted["skip"]]
    if whole and every["pass"] < made:
        yield f"All that was asked of it holds on {escaped(', '.join(whole))}."


def _proven(standings: Counter[str]) -> str:
    if not standings:
        return "Nothing was proven: pytest \\-\\-prove breaks each isolation on purpose, and the checks must notice."
    proven = f"{standings['proven']} of {standings.total()} are proven"
    text = f"{proven}: their isolation was broken on purpose, and they noticed."
    if standings["cannot be shown here"]:
        text += f" Of {standings['cannot be shown here']} it cannot be shown on this machine."
    if standings["not proven"]:
        text += f" **Not proven: {standings['not proven']}.**"
    return text


def _folded_area(results: Results, area: str, checks: dict[str, dict[str, Result]]) -> list[str]:
    runtimes = [runtime.name for runtime in results.runtimes]
    outcomes: Counter[str | None] = Counter()
    rows = []
    for check, by_runtime in checks.items():
        severity = next(iter(by_runtime.values())).severity
        rows.append(_row([escaped(check), severity, *(_cell(by_runtime.get(name)) for name in runtimes)]))
        outcomes.update(result.outcome for result in by_runtime.values())
    table = [_row(["check", "severity", *map(escaped, runtimes)]), _row(["---"] * (len(runtimes) + 2)), *rows, ""]
    about = results.catalogue.get(area)
    title = f"{area}, {about.title}" if about else area
    counts = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in OUTCOMES if outcomes[outcome])
    return _folded(f"{title}: {counts}", table)


def _folded(summary: str, lines: list[str]) -> list[str]:
    """The lines behind a summary, in which no Markdown is read, so that only HTML is escaped."""
    text = _inert(html.escape(one_line(summary), quote=False))
    return [f"<details><summary>{text}</summary>", "", *lines, "</details>", ""]


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    if not result.proofs or result.outcome in ("skip", "xfail"):
        return SIGNS[result.outcome]
    tried = [proof for proof in result.proofs if proof.outcome != "skip"]
    return f"{SIGNS[result.outcome]} {sum(proof.outcome == 'proven' for proof in tried)}/{len(tried)}"


def _broken(results: Results) -> list[Result]:
    """What was not known to be so, what weighs most first, and behind it what could not be judged."""
    broken = [result for result in results.results if result.outcome in ("fail", "error")]
    return sorted(broken, key=lambda result: (result.outcome == "error", rank(result.severity)))


def _finding(result: Result, results: Results) -> list[str]:
    text = [f"### {escaped(result.label)} on {escaped(result.runtime)}: {result.outcome}", ""]
    text += [f"{escaped(result.claim)} ({escaped(result.severity)}, {escaped(result.path)}:{result.line})", ""]
    if result.reason:
        text += [escaped(_shortened(result.reason)), ""]
    for failure in result.failures:
        text.append(f"- {escaped(failure.expression)} ({escaped(failure.path)}:{failure.line})")
        text += [f"  - {escaped(part)} = {escaped(_shortened(value))}" for part, value in failure.values]
    return [*text, "", f"Again: {escaped(again(result, results.environment))}", ""]


def _shortened(text: str) -> str:
    rest = len(text) - LONGEST_VALUE
    return text if rest <= 0 else f"{text[:LONGEST_VALUE]}… ({rest} more characters)"


def _proofs(results: Results) -> list[str]:
    """The proofs that do not hold, and why."""
    rows = [
        [
            f"{result.label} ({proof.sabotage})",
            result.runtime,
            "cannot be shown here" if proof.outcome == "skip" else proof.outcome,
            _shortened(proof.reason),
        ]
        for result in results.results
        for proof in result.missing_proofs()
    ]
    if not rows:
        return []
    return _folded(f"Proofs that are missing: {len(rows)}", _table(["check", "runtime", "", "reason"], rows))


def _reaches(results: Results) -> list[str]:
    """What each sabotage turned red and what it left without a verdict, the checks that name it apart; folded away."""
    if not results.reaches:
        return []
    rows = [
        [
            reach.sabotage,
            ", ".join(reach.own_red()),
            ", ".join(reach.others_red()),
            ", ".join(reach.error),
            str(len(reach.green)),
        ]
        for reach in results.reaches
    ]
    table = _table(["sabotage", "its own checks", "others", "without a verdict", "green"], rows)
    return _folded(f"What each of {len(rows)} sabotages turns red", table)


def _time(timing: Timing | None) -> list[str]:
    """Where the time went, in seconds, folded away."""
    if not timing:
        return []
    columns = timing.session, timing.of_checks(), timing.of_proofs(), timing.by_part()
    parts = [[part, *(_seconds(column.get(part)) for column in columns), PARTS.get(part, "")] for part in columns[-1]]
    total = ["all", *(_seconds(sum(column.values())) for column in columns), ""]
    areas = [
        [area, *(_seconds(sum(side.get(area, {}).values())) for side in (timing.checks, timing.proofs))]
        for area in dict.fromkeys([*timing.checks, *timing.proofs])
    ]
    launches = [
        [
            _seconds(launch.milliseconds),
            max(launch.parts, key=lambda part: launch.parts[part], default=""),
            launch.runtime,
            launch.sabotage,
            ", ".join(launch.checks),
        ]
        for launch in timing.slowest
    ]
    several = f", of {timing.processes} processes added up" if timing.processes > 1 else ""
    tables = [
        *_table(["part", "session", "checks", "proofs", "together", ""], [*parts, total]),
        *_table(["area", "checks", "proofs"], areas),
        *_table(["slowest launches", "most of it", "runtime", "sabotage", "checks"], launches),
    ]
    return _folded(f"Time by part: {_seconds(timing.milliseconds)} s{several}", tables)


def _seconds(milliseconds: float | None) -> str:
    return f"{milliseconds / 1000:.2f}" if milliseconds else ""


def _table(heading: list[str], rows: list[list[str]]) -> list[str]:
    return [
        _row(list(map(escaped, heading))),
        _row(["---"] * len(heading)),
        *(_row(list(map(escaped, row))) for row in rows),
        "",
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """One line of Markdown that shows the text as it is; no markup, HTML, address or mention."""
    flat = re.sub(r"([\\`*_{}\[\]()#+!|~$-])", r"\\\1", " ".join(printable(text).split()))
    return _inert(flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _inert(text: str) -> str:
    """A printable text without what GitHub finds in it by itself: mentions, addresses, commands of a workflow's log."""
    return text.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;").replace("::", "&#58;:")
