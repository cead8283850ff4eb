"""The matrix and the findings as Markdown, for a pull request or a job summary.

GitHub cuts a job summary off at 1024 kB (the upload fails), so the findings end before that and say so.
Every text that may come from a container is escaped: it must not become a link, an image or a table of its
own.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

from harness import environment
from harness.matrix import SUCCESS, Cell, Matrix
from harness.report.terminal import OUTCOMES, STANDINGS, again
from harness.results import Result, Results, printable
from harness.timing import PARTS, Timing

FILE = "isolation.md"
MATRIX = "matrix.md"
LARGEST = 900 * 1024
SIGNS = {
    "pass": "✅ pass",
    "fail": "❌ **fail**",
    "error": "⚠️ **error**",
    "skip": "skip",
    "xfail": "xfail",
    None: "",
}


def render(results: Results) -> str:
    parts = (
        _heading(results),
        _matrix(results),
        _findings(results),
        _reasons(results),
        _reaches(results),
        _time(results.timing),
    )
    return _joined(parts, "isolation.json")


def render_matrix(matrix: Matrix) -> str:
    """Who was put under test and how it went, by area and by check, and why what did not pass did not."""
    parts = (
        ["# Isolation of container runtimes", ""],
        _runs(matrix),
        _runtimes(matrix),
        _areas(matrix),
        *(_area(matrix, area) for area in matrix.areas),
        _told_reasons(matrix),
    )
    return _joined(parts, "matrix.json")


def _joined(parts: Iterable[list[str]], whole: str) -> str:
    """The lines of all parts, without the empty one after the last; `whole` is the file that has all if it is cut."""
    text = "\n".join(line for part in parts for line in part).rstrip("\n") + "\n"
    if len(text.encode()) <= LARGEST:
        return text
    cut = text.encode()[:LARGEST].decode(errors="ignore")
    return cut[: cut.rindex("\n")] + f"\n\n… cut here; {whole} has all of it.\n"


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


def _told_reasons(matrix: Matrix) -> list[str]:
    """What does not hold where and why, and of each runtime what it was not asked for; a check once for its shapes."""
    rows = [
        [check, ", ".join(runtimes), verdict, reason]
        for (check, verdict, reason), runtimes in matrix.findings().items()
    ]
    text = ["## What does not hold", "", *_table(["check", "runtimes", "", "reason"], rows)] if rows else []
    for column in matrix.runtimes:
        skipped: dict[str, list[str]] = defaultdict(list)
        for _, check, row in matrix.rows():
            cell = row.cells.get(column.name)
            if cell and cell.verdict == "skip":
                skipped[cell.reason].append(check.partition("[")[0])
        if skipped:
            rows = [[", ".join(dict.fromkeys(checks)), str(len(checks)), reason] for reason, checks in skipped.items()]
            heading = f"## What {escaped(column.name)} was not asked for"
            text += [heading, "", *_table(["checks", "in all shapes", "reason"], rows)]
    return text


def _heading(results: Results) -> list[str]:
    return [
        "# Isolation",
        "",
        f"{escaped(results.started)}, {results.milliseconds / 1000:.1f} s",
        "",
        escaped(environment.one_line(results.environment)),
        "",
        *(f"- {escaped(runtime.name)}: {escaped(runtime.missing or runtime.version)}" for runtime in results.runtimes),
        "",
    ]


def _matrix(results: Results) -> list[str]:
    runtimes = [runtime.name for runtime in results.runtimes]
    rows = [_row(["check", "severity", *map(escaped, runtimes)]), _row(["---"] * (len(runtimes) + 2))]
    for area, checks in results.areas().items():
        rows.append(_row([f"**{escaped(area)}**", "", *("" for _ in runtimes)]))
        for check, by_runtime in checks.items():
            severity = next(iter(by_runtime.values())).severity
            cells = [_cell(by_runtime.get(name)) for name in runtimes]
            rows.append(_row([escaped(check), escaped(severity), *cells]))
    for outcome in OUTCOMES:
        rows.append(_row([outcome, "", *(str(results.outcomes(name)[outcome]) for name in runtimes)]))
    standings = [results.standings(name) for name in runtimes]
    for standing in STANDINGS if any(standings) else ():
        rows.append(_row([standing, "", *(str(counted[standing]) for counted in standings)]))
    return [*rows, ""]


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    if not result.proofs or result.outcome in ("skip", "xfail"):
        return SIGNS[result.outcome]
    tried = [proof for proof in result.proofs if proof.outcome != "skip"]
    return f"{SIGNS[result.outcome]} {sum(proof.outcome == 'proven' for proof in tried)}/{len(tried)}"


def _findings(results: Results) -> list[str]:
    text: list[str] = []
    for result in results.results:
        if result.outcome not in ("fail", "error"):
            continue
        text += [f"### {escaped(result.label)} on {escaped(result.runtime)}: {result.outcome}", ""]
        text += [
            f"{escaped(result.claim)} ({escaped(result.severity)}, {escaped(result.path)}:{result.line})",
            "",
        ]
        if result.reason:
            text += [escaped(result.reason), ""]
        for failure in result.failures:
            text.append(f"- {escaped(failure.expression)} ({escaped(failure.path)}:{failure.line})")
            text += [f"  - {escaped(part)} = {escaped(value)}" for part, value in failure.values]
        text += ["", f"Again: {escaped(again(result, results.environment))}", ""]
    return ["## Findings", "", *text] if text else []


def _reasons(results: Results) -> list[str]:
    rows = [
        [result.label, result.runtime, str(result.outcome), result.reason]
        for result in results.results
        if result.outcome in ("skip", "xfail")
    ]
    rows += [
        [
            f"{result.label} ({proof.sabotage})",
            result.runtime,
            "cannot be shown here" if proof.outcome == "skip" else proof.outcome,
            proof.reason,
        ]
        for result in results.results
        for proof in result.missing_proofs()
    ]
    if not rows:
        return []
    return ["## Skips, known findings and missing proofs", "", *_table(["check", "runtime", "", "reason"], rows)]


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
    return [
        f"<details><summary>What each of {len(rows)} sabotages turns red</summary>",
        "",
        *_table(["sabotage", "its own checks", "others", "without a verdict", "green"], rows),
        "</details>",
        "",
    ]


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
    return [
        f"<details><summary>Time by part: {_seconds(timing.milliseconds)} s{several}</summary>",
        "",
        *_table(["part", "session", "checks", "proofs", "together", ""], [*parts, total]),
        *_table(["area", "checks", "proofs"], areas),
        *_table(["slowest launches", "most of it", "runtime", "sabotage", "checks"], launches),
        "</details>",
        "",
    ]


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
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return flat.replace("://", "&#58;//").replace("www.", "www&#46;")
