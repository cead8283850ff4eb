"""Results told again: those of a run, several runs in one matrix, and what two of them answer differently.

What `isoproof report` does. Each function prints, and returns the exit status.
"""

import sys
from pathlib import Path

from harness import backends, matrix, report
from harness.errors import BadInput
from harness.report import terminal
from harness.results import from_json


def render(file: Path, format_name: str) -> int:
    """Tell one run in some format; 1 if a check failed."""
    renderer = report.load(format_name)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise BadInput(f"open {file}: {error.strerror}; pytest scenarios/ writes it") from None
    results = from_json(text, str(file))
    print(renderer.render(results), end="")
    return int(any(result.outcome in ("fail", "error") for result in results.results))


def tell_matrix(files: list[Path], format_name: str, directory: Path) -> int:
    """Put runs together, tell it and write it into a folder; 1 if a check was left without a verdict.

    A check that has failed is an answer, which is what a matrix is made for.
    """
    renderer = report.load_for_matrix(format_name)
    merged = matrix.merged({str(file): matrix.read(file) for file in files})
    try:
        written = report.write_matrix(merged, directory)
    except OSError as error:
        raise BadInput(f"write {error.filename}: {error.strerror}; --reports DIR names another folder") from None
    print(renderer.render_matrix(merged), end="")
    print(f"reports: {', '.join(map(str, written))}", file=sys.stderr)
    lost = matrix.lost(merged)
    for line in lost:
        print(line, file=sys.stderr)
    errors = sum(merged.outcomes(runtime.name)["error"] for runtime in merged.runtimes)
    return int(bool(lost or errors))


def compare(left: str, right: str, files: list[Path], usual: Path) -> int:
    """Compare two files, or two runtimes in what files, or the usual one, tell of them; 1 if a verdict differs."""
    are_files = [Path(text).exists() for text in (left, right)]
    for text, is_file in zip((left, right), are_files, strict=True):
        if not is_file and text.partition(":")[0] not in backends.names():
            raise BadInput(f"open {text}: no such file, and no runtime of that name")
    if all(are_files) and not files:
        found = matrix.difference_of_runs(matrix.read(Path(left)), matrix.read(Path(right)), (left, right))
    elif not any(are_files):
        told = files or [usual]
        merged = matrix.merged({str(file): matrix.read(file) for file in told})
        found = matrix.difference_of_runtimes(merged, left, right, ", ".join(map(str, told)))
    else:
        raise BadInput("--diff takes two files, or two runtimes and the files that tell of them")
    for line in terminal.differences(found):
        print(line)
    if not found:
        print("no verdict differs", file=sys.stderr)
    return int(bool(found))
