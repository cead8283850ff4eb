"""Renderers of the one result list, one module for each format; none of them computes a verdict.

A module here has `render(results) -> str` and `FILE`, the name under which a run leaves it in reports/ (""
if it does not).
"""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from harness.errors import BadInput
from harness.results import Results


class Report(Protocol):
    FILE: str

    def render(self, results: Results) -> str: ...


def names() -> list[str]:
    """The formats, by the names of their modules."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def load(name: str) -> Report:
    """The module of a format; BadInput if there is none of that name."""
    if name not in names():
        raise BadInput(f"no such report format: {name}; there are {', '.join(names())}")
    return cast(Report, import_module(f"harness.report.{name}"))


def write_all(results: Results, directory: Path) -> list[Path]:
    """Write every report that has a file; the paths written. A reader never sees half of one."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names():
        report = load(name)
        if report.FILE:
            path = directory / report.FILE
            unfinished = path.with_name(f".{path.name}.unfinished")
            unfinished.write_text(report.render(results), encoding="utf-8")
            written.append(unfinished.replace(path))
    return written
