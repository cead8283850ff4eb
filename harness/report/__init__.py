"""Renderers of the one result list, one module for each format; none of them computes a verdict.

A module here has `render(results) -> str` and `FILE`, the name under which a run leaves it in reports/ (""
if it does not). Some can tell a matrix of several runs as well: they have `render_matrix(matrix) -> str` and `MATRIX`,
the name of that file. Some can tell what has changed since an earlier run: they have
`render_since(results, earlier, differences) -> str`.
"""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from harness.errors import BadInput
from harness.matrix import Difference, Matrix
from harness.results import Results


class Report(Protocol):
    FILE: str

    def render(self, results: Results) -> str: ...


class MatrixReport(Report, Protocol):
    MATRIX: str

    def render_matrix(self, matrix: Matrix) -> str: ...


class SinceReport(Report, Protocol):
    def render_since(self, results: Results, earlier: Matrix, differences: list[Difference]) -> str: ...


def names() -> list[str]:
    """The formats, by the names of their modules."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def load(name: str) -> Report:
    """The module of a format; BadInput if there is none of that name."""
    if name not in names():
        raise BadInput(f"no such report format: {name}; there are {', '.join(names())}")
    return cast(Report, import_module(f"harness.report.{name}"))


def load_for_matrix(name: str) -> MatrixReport:
    """The module of a format that can tell a matrix; BadInput if there is none of that name."""
    module = load(name)
    if not hasattr(module, "MATRIX"):
        raise BadInput(f"the report format {name} has no matrix; {', '.join(matrix_names())} have one")
    return cast(MatrixReport, module)


def load_for_since(name: str) -> SinceReport:
    """The module of a format that can tell what has changed; BadInput if there is none of that name."""
    module = load(name)
    if not hasattr(module, "render_since"):
        able = [each for each in names() if hasattr(load(each), "render_since")]
        raise BadInput(f"the report format {name} tells no changes; {', '.join(able)} does")
    return cast(SinceReport, module)


def matrix_names() -> list[str]:
    """The formats that can tell a matrix."""
    return [name for name in names() if hasattr(load(name), "MATRIX")]


def write_all(results: Results, directory: Path) -> list[Path]:
    """Write every report that has a file; the paths written. A reader never sees half of one."""
    reports = map(load, names())
    return [_write(directory / report.FILE, report.render(results)) for report in reports if report.FILE]


def write_matrix(matrix: Matrix, directory: Path) -> list[Path]:
    """Likewise, every report of a matrix that has a file."""
    reports = map(load_for_matrix, matrix_names())
    return [_write(directory / report.MATRIX, report.render_matrix(matrix)) for report in reports if report.MATRIX]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    return unfinished.replace(path)
