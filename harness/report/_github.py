"""What a run says to GitHub Actions: annotations at lines of scenarios, and a summary of its job.

Whatever is printed there goes through a runner that looks for commands in it: a line that begins with `::name::`, and
`##[name]` anywhere in one. `without_commands` takes them out of what a container may have said.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from harness.report import markdown
from harness.report._text import without_commands
from harness.results import Result, Results, one_line, printable
from harness.severities import rank

SHOWN = 10  # annotations of each level that GitHub shows of a step; of a job there are 50
LARGEST = 1000 * 1024  # bytes of a summary; GitHub refuses all of it above 1024 kB, from all who write to it in a step
LEAST = 16 * 1024  # bytes for which it is worth while to add to one
LONGEST = 4000  # characters of an annotation


def annotations(results: Results, workspace: Path) -> Iterator[str]:
    """Commands that annotate what does not hold (error) or could not be judged (warning), the worst first.

    Files are named below the workspace. What GitHub would not show is counted in a notice.
    """
    broken = sorted(
        (result for result in results.results if result.outcome in ("fail", "error")),
        key=lambda result: rank(result.severity),
    )
    left_out = 0
    for level, outcome in (("error", "fail"), ("warning", "error")):
        told = [result for result in broken if result.outcome == outcome]
        left_out += max(len(told) - SHOWN, 0)
        for result in told[:SHOWN]:
            yield _annotation(level, result, workspace)
    if left_out:
        yield f"::notice title=isoproof::{left_out} more checks failed or could not be judged; the summary has them"


def add_summary(results: Results, path: Path) -> bool:
    """Add the report to the summary of the job, as much of it as still fits; whether any of it did."""
    room = LARGEST - (path.stat().st_size if path.exists() else 0)
    if room < LEAST:
        return False
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{markdown.render(results, min(markdown.LARGEST, room - 1))}")
    return True


def _annotation(level: str, result: Result, workspace: Path) -> str:
    path, line = (result.failures[0].path, result.failures[0].line) if result.failures else (result.path, result.line)
    known = {
        "file": os.path.relpath(path, workspace),
        "line": str(line),
        "title": f"{result.label} on {result.runtime} ({result.severity})",
    }
    text = [result.claim, *([result.reason] if result.reason else [])]
    for broken in result.failures:
        text += [broken.expression, *(f"    {part} = {value}" for part, value in broken.values)]
    said = "\n".join(text)
    properties = ",".join(f"{name}={_property(value)}" for name, value in known.items())
    return f"::{level} {properties}::{_data(without_commands(printable(said))[:LONGEST])}"


def _data(text: str) -> str:
    """The text as it stands behind a command, in one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(without_commands(one_line(text))).replace(":", "%3A").replace(",", "%2C")
