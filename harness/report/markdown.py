"""The matrix and the findings as Markdown, for a pull request or a job summary.

GitHub cuts a job summary off at 1024 kB (the upload fails), so the findings end before that and say so.
Every text that may come from a container is escaped: it must not become a link, an image or a table of its
own.
"""

import re

from harness import environment
from harness.report.terminal import OUTCOMES, STANDINGS, again
from harness.results import Result, Results, printable
from harness.timing import PARTS, Timing

FILE = "isolation.md"
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
    text = "\n".join(line for part in parts for line in part) + "\n"
    if len(text.encode()) <= LARGEST:
        return text
    cut = text.encode()[:LARGEST].decode(errors="ignore")
    return cut[: cut.rindex("\n")] + "\n\n… cut here; isolation.json has all of it.\n"


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
    rows = [_row(["check", "severity", *runtimes]), _row(["---"] * (len(runtimes) + 2))]
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
    return [_row(heading), _row(["---"] * len(heading)), *(_row(list(map(escaped, row))) for row in rows), ""]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """One line of Markdown that shows the text as it is; no markup, HTML, address or mention."""
    flat = re.sub(r"([\\`*_{}\[\]()#+!|~$-])", r"\\\1", " ".join(printable(text).split()))
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return flat.replace("://", "&#58;//").replace("www.", "www&#46;")
