"""Results told again: those of a run, several runs in one matrix, and what two of them answer differently.

What `isoproof report` does. Each function prints, and returns the exit status.
"""

import io
import sys
from collections.abc import Iterable
from pathlib import Path

from harness import backends, matrix, report
from harness.errors import BadInput
from harness.report import terminal
from harness.report._text import PLAIN, Look
from harness.results import from_json


def render(file: Path, format_name: str, since: Path | None = None, look: Look = PLAIN) -> int:
    """Tell one run in some format, and what has changed since another; 1 if a check failed."""
    renderer = report.load(format_name)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise BadInput(f"open {file}: {error.strerror}; isoproof verify stores a run") from None
    results = from_json(text, str(file))
    changes = None
    if since:
        earlier = matrix.read(since)
        changes = report.Since(earlier, matrix.difference_of_runs(earlier, matrix.of(results), (str(since), str(file))))
    if renderer is terminal and not changes:
        print(terminal.render(results, look), end="")
    else:
        _print(report.tell(format_name, results, file.parent, changes))
    return int(any(result.outcome in ("fail", "error") for result in results.results))


def tell_matrix(files: list[Path], format_name: str, directory: Path, look: Look = PLAIN) -> int:
    """Put runs together, tell it and write it into a folder; 1 if a check was left without a verdict.

    A check that has failed is an answer, which is what a matrix is made for.
    """
    renderer = report.load_for_matrix(format_name)
    merged = matrix.merged({str(file): matrix.read(file) for file in files})
    try:
        written = report.write_matrix(merged, directory)
    except OSError as error:
        raise BadInput(f"write {error.filename}: {error.strerror}; --reports DIR names another folder") from None
    if renderer is terminal:
        print(terminal.render_matrix(merged, look), end="")
    else:
        _print(renderer.render_matrix(merged))
    print(f"reports: {', '.join(map(str, written))}", file=sys.stderr)
    lost = matrix.lost(merged)
    for line in lost:
        print(line, file=sys.stderr)
    errors = sum(merged.outcomes(runtime.name)["error"] for runtime in merged.runtimes)
    return int(bool(lost or errors))


def _print(text: str) -> None:
    """Print a report that belongs into a file, in UTF-8 as it says of itself, whatever the locale is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    print(text, end="")


def compare(left: str, right: str, files: list[Path], usual: Path) -> int:
    """Compare two files, or two runtimes in what files, or the usual one, tell of them; 1 if a verdict differs."""
    names = (left, right)
    there = [Path(name).exists() for name in names]
    if all(there) and not files:
        found = matrix.difference_of_runs(matrix.read(Path(left)), matrix.read(Path(right)), names)
    elif not any(there):
        told = files or [usual]
        _require_runtimes(names, told)
        merged = matrix.merged({str(file): matrix.read(file) for file in told})
        found = matrix.difference_of_runtimes(merged, left, right, ", ".join(map(str, told)))
    else:
        _require_runtimes([name for name, is_there in zip(names, there, strict=True) if not is_there], [])
        raise BadInput("--diff takes two files, or two runtimes and the files that tell of them")
    for line in terminal.differences(found):
        print(line)
    if not found:
        print("no verdict differs", file=sys.stderr)
    return int(bool(found))


def _require_runtimes(names: Iterable[str], files: list[Path]) -> None:
    """Raise BadInput for a name that is no file and no runtime either, here or in a file that is there."""
    known = {column.name for file in files if file.exists() for column in matrix.read(file).runtimes}
    for name in names:
        if name not in known and name.partition(":")[0] not in backends.names():
            raise BadInput(f"open {name}: no such file, and no runtime of that name")
