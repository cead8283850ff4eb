"""`make bench-report`: the reports of a stored benchmark again, and what has changed since another one.

    python -m harness.bench.report [FILE] [--since FILE] [--reports DIR]

Nothing is measured. Exit status: 0, or 2 for bad input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.bench import changes, comparison, record
from harness.errors import IsoproofError

REPORTS = Path("reports")


def main(words: Sequence[str] | None = None) -> int:
    """Read, render, write; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m harness.bench.report", description="render a stored benchmark")
    parser.add_argument("file", type=Path, nargs="?", default=REPORTS / "benchmark.json", help="default: %(default)s")
    parser.add_argument("--since", type=Path, metavar="FILE", help="tell in the page what has changed since that run")
    parser.add_argument("--reports", type=Path, default=REPORTS, metavar="DIR", help="where reports are written")
    options = parser.parse_args(words)
    try:
        report(options.file, options.since, options.reports)
    except IsoproofError as error:
        print(f"isoproof: {error}", file=sys.stderr)
        return 2
    return 0


def report(file: Path, since: Path | None, directory: Path) -> None:
    """Write the reports of a stored run. Raises IsoproofError."""
    found = record.read(file)
    told = None
    if since:
        earlier = record.read(since)
        comparison.check_machine(earlier.environment, found.environment, str(since))
        told = changes.since(earlier, found)
    record.check_writable(directory)
    record.write_reports(directory, found, told)
    print(f"{directory / 'benchmark.html'}")


if __name__ == "__main__":
    sys.exit(main())
