"""`make bench-compare`: whether our own starts take longer than in a stored run.

    python -m harness.bench.compare [--base FILE] [--reports DIR]

Exit status: 0 no slowdown, 1 a slowdown, 2 nothing can be said, or bad input; make has 2 wherever this is not 0.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import environment
from harness.bench import baseline, changes, comparison, leavings, page, record, rows
from harness.bench.comparison import Finding, Verdict
from harness.bench.progress import Progress, Tell
from harness.bench.series import Benchmark
from harness.bench.tables import aligned
from harness.errors import BadInput, IsoproofError
from harness.report import write
from harness.report.markdown import escaped
from harness.runtime.errors import on_one_line

REPORTS = Path("reports")
STORE = "`make bench` stores one"
EXPLANATION = (
    "then, now: milliseconds from the request to the first instruction, medians; ratio: the one by the other.",
    "held: the same ratio when each round is held against a yardstick that our own runtime has no part in: a fixed",
    "list of system calls, or Python for the command. It is what is left when the machine itself has changed.",
    f"A difference is one of more than {comparison.THRESHOLD - 1:.0%} of this that is no chance, in two measurements.",
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, compare, tell; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m harness.bench.compare", description="compare starts with a run")
    parser.add_argument("--base", type=Path, default=REPORTS / "benchmark.json", metavar="FILE", help="the stored run")
    parser.add_argument("--reports", type=Path, default=REPORTS, metavar="DIR", help="where reports are written")
    options = parser.parse_args(words)
    try:
        with leavings.ended_in_order():
            return compare(options.base, options.reports)
    except IsoproofError as error:
        print(f"isoproof: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def compare(base: Path, reports: Path) -> int:
    """Compare with a stored run and write the reports. Raises IsoproofError."""
    then = stored(base)
    comparison.check_machine(then.environment, record.surroundings(), str(base))
    record.check_writable(reports)
    progress = Progress(sys.stdout)
    runs: list[Benchmark] = []

    def measure() -> Benchmark:
        runs.append(measured(progress))
        return runs[-1]

    with contextlib.closing(progress):
        findings = comparison.compare(then, measure(), measure)
    report = reports / "benchmark-comparison.md"
    write(report, told(findings, then, runs, escaped))
    told_since = changes.since(then, runs[0], findings)
    write(reports / "benchmark-comparison.html", page.render(runs[0], told_since))
    write(reports / "benchmark-rows.json", rows.to_json(runs[0]))
    print(shown(findings))
    print(f"What the figures mean: {report}")
    return status(findings)


def stored(path: Path) -> Benchmark:
    """Return a stored run. Raises BadInput."""
    found = record.read(path)
    if baseline.NAME not in found.sections:
        raise BadInput(f"{path}: no section {baseline.NAME} is in it, with which a run can be compared; {STORE}")
    return found


def measured(tell: Tell) -> Benchmark:
    """Measure what is compared."""
    with record.begun(baseline.SETTINGS) as found:
        found.contenders, found.sections[baseline.NAME] = baseline.measured(tell)
    return found


def status(findings: Sequence[Finding]) -> int:
    """Return the exit status: what is slower counts more than what nothing can be said of."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.SLOWER in verdicts:
        return 1
    return 2 if Verdict.NONE in verdicts or not verdicts else 0


def shown(findings: Sequence[Finding]) -> str:
    """Return the findings as a terminal shows them."""
    return "\n".join([*table(findings), *reasons(findings, on_one_line)])


def told(findings: Sequence[Finding], then: Benchmark, runs: Sequence[Benchmark], safe: Callable[[str], str]) -> str:
    """Return the whole report in Markdown."""
    measured = " and ".join(run.started for run in runs)
    lines = [
        "# Comparison of start-up latency with a stored run",
        "",
        f"Stored: {safe(then.started)}. Measured: {measured}. {safe(environment.one_line(runs[0].environment))}.",
        "",
        *table(findings),
        "",
        *EXPLANATION,
        "",
        *reasons(findings, safe),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as a table."""
    rows = [["", "verdict", "then", "now", "ratio", "held", "deviations"]]
    for finding in findings:
        figures = [(finding.then, ".3f"), (finding.now, ".3f"), (finding.ratio, ".3f"), (finding.held, ".3f")]
        figures.append((finding.deviations, "+.1f"))
        row = ["" if figure is None else format(figure, form) for figure, form in figures]
        rows.append([finding.label, finding.verdict, *row])
    return aligned(rows)


def reasons(findings: Sequence[Finding], safe: Callable[[str], str]) -> list[str]:
    """Return why some have no verdict."""
    return [f"- {found.label} {found.verdict}: {safe(found.reason)}" for found in findings if found.reason]


if __name__ == "__main__":
    sys.exit(main())
