"""The matrix and the findings as Markdown, for a pull request or a job summary.

GitHub cuts a job summary off at 1024 kB (the upload fails), so the findings end before that and say so.
Every text that may come from a container is escaped: it must not become a link, an image or a table of its
own.
"""

import re

from harness import environment
from harness.report.terminal import OUTCOMES, again
from harness.results import Result, Results, printable

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
    text = "\n".join([*_heading(results), *_matrix(results), *_findings(results), *_reasons(results)]) + "\n"
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
    rows = [row(["check", "severity", *runtimes]), row(["---"] * (len(runtimes) + 2))]
    for area, checks in results.areas().items():
        rows.append(row([f"**{escaped(area)}**", "", *("" for _ in runtimes)]))
        for check, by_runtime in checks.items():
            severity = next(iter(by_runtime.values())).severity
            cells = [_cell(by_runtime.get(name)) for name in runtimes]
            rows.append(row([escaped(check), escaped(severity), *cells]))
    for outcome in OUTCOMES:
        rows.append(row([outcome, "", *(str(results.outcomes(name)[outcome]) for name in runtimes)]))
    proofs = [results.proofs(name) for name in runtimes]
    rows.append(row(["proven", "", *(f"{proven} of {tried}" if tried else "" for proven, tried in proofs)]))
    return [*rows, ""]


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    proofs = [proof for proof in result.proofs if proof.outcome != "skip"]
    proven = f" {sum(proof.outcome == 'proven' for proof in proofs)}/{len(proofs)}" if proofs else ""
    return SIGNS[result.outcome] + proven


def _findings(results: Results) -> list[str]:
    text: list[str] = []
    for result in results.results:
        if result.outcome not in ("fail", "error"):
            continue
        text += [f"### {escaped(result.check)} on {escaped(result.runtime)}: {result.outcome}", ""]
        text += [
            f"{escaped(result.claim)} ({escaped(result.severity)}, {escaped(result.path)}:{result.line})",
            "",
        ]
        if result.reason:
            text += [escaped(result.reason), ""]
        for failure in result.failures:
            text.append(f"- {escaped(failure.expression)} ({escaped(failure.path)}:{failure.line})")
            text += [f"  - {escaped(part)} = {escaped(value)}" for part, value in failure.values]
        text += ["", f"Again: {escaped(again(result))}", ""]
    return ["## Findings", "", *text] if text else []


def _reasons(results: Results) -> list[str]:
    rows = [
        row([escaped(result.check), escaped(result.runtime), str(result.outcome), escaped(result.reason)])
        for result in results.results
        if result.outcome in ("skip", "xfail")
    ]
    rows += [
        row(
            [
                f"{escaped(result.check)} ({escaped(proof.sabotage)})",
                escaped(result.runtime),
                "no proof" if proof.outcome == "skip" else proof.outcome,
                escaped(proof.reason),
            ]
        )
        for result in results.results
        for proof in result.missing_proofs()
    ]
    if not rows:
        return []
    return [
        "## Skips, known findings and missing proofs",
        "",
        row(["check", "runtime", "", "reason"]),
        row(["---"] * 4),
        *rows,
        "",
    ]


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """One line of Markdown that shows the text as it is; no markup, HTML, address or mention."""
    flat = re.sub(r"([\\`*_{}\[\]()#+!|~$-])", r"\\\1", " ".join(printable(text).split()))
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return flat.replace("://", "&#58;//").replace("www.", "www&#46;")
