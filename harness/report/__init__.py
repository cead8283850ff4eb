"""Renderers of the one result list, one module for each format; none of them computes a verdict.

A module here has `render(results) -> str` and `FILE`, the name under which a run leaves it in reports/ (""
if it does not). Some can tell a matrix of several runs as well: they have `render_matrix(matrix) -> str` and `MATRIX`,
the name of that file. Some have more to tell of a run than its results: they have
`render_page(results, folder, since) -> str`, which tells what other verbs have left in the folder of the results, too,
and what has changed since an earlier run.
"""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from harness.errors import BadInput
from harness.matrix import Difference, Matrix
from harness.results import Results


class Report(Protocol):
    FILE: str

    def render(self, results: Results) -> str: ...


class MatrixReport(Report, Protocol):
    MATRIX: str

    def render_matrix(self, matrix: Matrix) -> str: ...


class Since(NamedTuple):
    """An earlier run, and what differs from it."""

    earlier: Matrix
    differences: list[Difference]


class PageReport(Report, Protocol):
    def render_page(self, results: Results, folder: Path, since: Since | None = None) -> str: ...


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


def tell(name: str, results: Results, folder: Path, since: Since | None = None) -> str:
    """All that a format has to tell of a run whose results are in a folder; BadInput if it can tell no changes."""
    module = load(name)
    if hasattr(module, "render_page"):
        return cast(PageReport, module).render_page(results, folder, since)
    if since:
        able = [each for each in names() if hasattr(load(each), "render_page")]
        raise BadInput(f"the report format {name} tells no changes; {', '.join(able)} does")
    return module.render(results)


def matrix_names() -> list[str]:
    """The formats that can tell a matrix."""
    return [name for name in names() if hasattr(load(name), "MATRIX")]


def write_all(results: Results, directory: Path) -> list[Path]:
    """Write every report that has a file; the paths written.

    The results themselves come first: whatever becomes of the others, they can be made again of them.
    """
    files = {name: load(name).FILE for name in sorted(names(), key=lambda name: name != "json")}
    return [write(directory / file, tell(name, results, directory)) for name, file in files.items() if file]


def write_matrix(matrix: Matrix, directory: Path) -> list[Path]:
    """Likewise, every report of a matrix that has a file."""
    reports = map(load_for_matrix, matrix_names())
    return [write(directory / report.MATRIX, report.render_matrix(matrix)) for report in reports if report.MATRIX]


def write(path: Path, text: str) -> Path:
    """Write a report; whoever reads it meanwhile finds the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    return unfinished.replace(path)
