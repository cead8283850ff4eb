"""Several runs in one matrix of checks and runtimes, and where two of them differ. No verdict is made here.

A matrix keeps of each result what one compares: the verdict, the errno that the container's attempts ended with, and
the reason. So it is small enough to be kept as a reference (reports/reference/matrix.json), and can be put together
from runs of different runtimes, each of them stored where and when it was made.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from harness import environment
from harness.errors import BadInput
from harness.results import Area, Outcome, Result, Results, from_json, one_line, require_environment, require_format
from harness.severities import Severity

FORMAT: Final = 1
ADVICE = "run the older again with this isoproof, or compare them: isoproof report --diff"
SUCCESS = "0"  # stands where an attempt that a check was to see denied has succeeded
ERRNO = re.compile(r"'(E[A-Z0-9]+)'")
ERRNO_WITHIN = re.compile(r"'errno': '(E[A-Z0-9]+)'")


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What came of a check on a runtime; `errno` are those that its expectations name, of a red check SUCCESS too."""

    verdict: Outcome
    errno: list[str] = []
    reason: str = ""

    def text(self) -> str:
        """The verdict, and behind it the errno, as `fail (0)`."""
        return f"{self.verdict} ({' '.join(self.errno)})" if self.errno else self.verdict


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A check in a shape, with a cell for each runtime on which it was made.

    `digest` is of what the check expects, "" where its run has not kept that: where two differ, the claim was judged in
    two ways.
    """

    claim: str
    severity: Severity
    cells: dict[str, Cell]
    digest: str = ""


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A runtime with its options, put under test in one of the runs, which are counted from 0.

    `missing` says why it could not be, `command` is how one of its containers was started.
    """

    name: str
    version: str
    missing: str = ""
    command: str = ""
    run: int = 0


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When, in UTC, and where the columns were found out."""

    started: str
    environment: dict[str, Any]


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it: areas have rows by the names of checks, `name[shape]` where they are made in another container."""

    runs: list[Run]
    runtimes: list[Column]
    areas: dict[str, dict[str, Row]]
    matrix: Literal[1] = FORMAT

    def rows(self) -> Iterator[tuple[str, str, Row]]:
        """Each row with its area and its check."""
        for area, rows in self.areas.items():
            for check, row in rows.items():
                yield area, check, row

    def outcomes(self, runtime: str, area: str | None = None) -> Counter[str]:
        """How often each verdict was given on a runtime."""
        return Counter(
            row.cells[runtime].verdict
            for own_area, _, row in self.rows()
            if area in (None, own_area) and runtime in row.cells
        )

    def made(self, runtime: str, area: str) -> Counter[str]:
        """How often each verdict was given in an area, but for skips: what was not asked for has not failed."""
        outcomes = self.outcomes(runtime, area)
        del outcomes["skip"]
        return outcomes

    def findings(self) -> dict[tuple[str, str, str], list[str]]:
        """On which runtimes what does not hold, by check, verdict and reason; a check is told once for its shapes."""
        broken: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for _, check, row in self.rows():
            for runtime in self.runtimes:
                cell = row.cells.get(runtime.name)
                if cell and cell.verdict not in ("pass", "skip"):
                    reason = cell.reason or f"it does not hold: {row.claim}"
                    broken[check.partition("[")[0], cell.verdict, reason].append(runtime.name)
        return {finding: list(dict.fromkeys(runtimes)) for finding, runtimes in broken.items()}


class Difference(NamedTuple):
    """A check whose verdicts differ, and the runtimes that they are of; None where it was not made."""

    check: str
    runtimes: tuple[str, str]
    cells: tuple[Cell | None, Cell | None]


def of(results: Results) -> Matrix:
    """The matrix of one run; where only proofs were made, there is no verdict."""
    areas: dict[str, dict[str, Row]] = {}
    commands: dict[str, str] = {}
    for result in results.results:
        if result.outcome is None:
            continue
        if result.command:
            commands.setdefault(result.runtime, result.command)
        rows = areas.setdefault(result.area, {})
        if result.label not in rows:
            digest = _digest(results.catalogue.get(result.area), result.check)
            rows[result.label] = Row(result.claim, result.severity, {}, digest)
        row = rows[result.label]
        row.cells[result.runtime] = Cell(result.outcome, _errnos(result), result.reason)
    columns = [
        Column(runtime.name, runtime.version, runtime.missing, commands.get(runtime.name, ""))
        for runtime in results.runtimes
    ]
    return Matrix([Run(results.started, results.environment)], columns, areas)


def read(path: Path) -> Matrix:
    """The matrix of a stored run, or a stored one; BadInput says in a line what is wrong with the file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(f"open {path}: {error.strerror}; isoproof verify stores a run") from None
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
        if "matrix" not in document:
            return of(from_json(text, str(path)))
        require_format("matrix", document["matrix"], FORMAT, str(path))
        matrix = msgspec.json.decode(text, type=Matrix)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: neither a result list nor a matrix of isoproof: {one_line(error)}") from None
    for run in matrix.runs:
        require_environment(run.environment, str(path))
    names = Counter(column.name for column in matrix.runtimes)
    for name, times in names.items():
        if times > 1:
            raise BadInput(f"{path}: {name!r} was put under test twice")
    for _, check, row in matrix.rows():
        for runtime in row.cells:
            if runtime not in names:
                raise BadInput(f"{path}: {check!r} is told of {runtime!r}, which was not put under test there")
    if not all(0 <= column.run < len(matrix.runs) for column in matrix.runtimes):
        raise BadInput(f"{path}: a runtime is of a run that is not in it")
    return matrix


def to_json(matrix: Matrix) -> str:
    """The matrix with a line for each check, so that what has changed shows where two files are compared."""
    areas = [
        f"{_compact(area)}: " + _block("{}", 2, [f"{_compact(check)}: {_compact(row)}" for check, row in rows.items()])
        for area, rows in matrix.areas.items()
    ]
    fields = {
        "matrix": _compact(matrix.matrix),
        "runs": _block("[]", 1, map(_compact, matrix.runs)),
        "runtimes": _block("[]", 1, map(_compact, matrix.runtimes)),
        "areas": _block("{}", 1, areas),
    }
    return _block("{}", 0, [f'"{name}": {value}' for name, value in fields.items()]) + "\n"


def _block(brackets: str, depth: int, entries: Iterable[str]) -> str:
    inner, outer = "  " * (depth + 1), "  " * depth
    return f"{brackets[0]}\n{inner}" + f",\n{inner}".join(entries) + f"\n{outer}{brackets[1]}"


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def merged(matrices: dict[str, Matrix]) -> Matrix:
    """Several matrices, by the names of their files, as one; of a check made twice on a runtime, the later counts.

    A runtime that was put under test on several kernels has a column for each. Raises BadInput where that would mix
    what does not belong together: two catalogues, or two versions of a runtime on one kernel.
    """
    _require_one_catalogue(matrices)
    named = _named_by_kernel(matrices)
    runs: list[Run] = []
    columns: dict[str, Column] = {}
    origins: dict[str, str] = {}
    areas: dict[str, dict[str, Row]] = {}
    for path, matrix in matrices.items():
        names = {column.name: named[path, column.name] for column in matrix.runtimes}
        for column in matrix.runtimes:
            name = names[column.name]
            known = columns.get(name)
            if known and known.version != column.version:
                raise BadInput(
                    f"{path}: {name!r} is version {column.version!r}, and {known.version!r} in "
                    f"{origins[name]}; isoproof report --diff compares two versions"
                )
            columns[name] = msgspec.structs.replace(column, name=name, run=column.run + len(runs))
            origins[name] = path
        runs += matrix.runs
        for area, check, row in matrix.rows():
            mine = areas.setdefault(area, {}).setdefault(check, Row(row.claim, row.severity, {}, row.digest))
            mine.cells.update({names[runtime]: cell for runtime, cell in row.cells.items()})
    return Matrix(runs, list(columns.values()), areas)


def _named_by_kernel(matrices: dict[str, Matrix]) -> dict[tuple[str, str], str]:
    """How each column, by its file and its name there, is to be named, so that kernels are told apart.

    A runtime that is of one kernel only keeps its name, others have `NAME on Linux 6.1`; if two kernels are of one
    version, they have all of their releases.
    """
    kernels: dict[tuple[str, str], str] = {}
    releases: dict[str, set[str]] = defaultdict(set)
    for path, matrix in matrices.items():
        for column in matrix.runtimes:
            release = str(matrix.runs[column.run].environment["release"])
            kernels[path, column.name] = release
            releases[_without_kernel(column.name, release)].add(release)
    named = {}
    for (path, name), release in kernels.items():
        name_alone = _without_kernel(name, release)
        others = releases[name_alone]
        short = len(set(map(_short, others))) == len(others)
        kernel = f" on Linux {_short(release) if short else release}" if len(others) > 1 else ""
        named[path, name] = name_alone + kernel
    return named


def _without_kernel(name: str, release: str) -> str:
    """The name of a runtime, from that of a column which may have been merged before."""
    return name.removesuffix(f" on Linux {release}").removesuffix(f" on Linux {_short(release)}")


def _short(release: str) -> str:
    return ".".join(map(str, environment.kernel_version(release)))


def lost(matrix: Matrix) -> list[str]:
    """What has no verdict on one runtime although its run made the check on another: who was to give it has crashed."""
    lines = []
    for number in range(len(matrix.runs)):
        names = [column.name for column in matrix.runtimes if column.run == number]
        for name in names:
            holes = [
                check
                for _, check, row in matrix.rows()
                if name not in row.cells and not row.cells.keys().isdisjoint(names)
            ]
            if holes:
                lines.append(one_line(f"{name}: no result of {len(holes)} checks: {', '.join(holes)}"))
    return lines


def difference_of_runs(left: Matrix, right: Matrix, names: tuple[str, str]) -> list[Difference]:
    """Where two runs differ, on each runtime that both have; if each has but one, on these.

    They may be of two versions of isoproof. What a check claims is what it is: one with a new claim is another check.
    """
    old, new = ({(check, row.claim) for _, check, row in matrix.rows()} for matrix in (left, right))
    if not old & new:
        raise BadInput(f"{names[0]} and {names[1]}: no check is in both, so there is nothing to compare")
    runtimes = [[column.name for column in matrix.runtimes] for matrix in (left, right)]
    both = [name for name in runtimes[0] if name in runtimes[1]]
    if both:
        pairs = [(name, name) for name in both]
    elif [len(each) for each in runtimes] == [1, 1]:
        pairs = [(runtimes[0][0], runtimes[1][0])]
    else:
        raise BadInput(f"{names[0]} and {names[1]}: no runtime is in both: {runtimes[0]} and {runtimes[1]}")
    return [found for pair in pairs for found in _differences(left, right, *pair)]


def difference_of_runtimes(matrix: Matrix, left: str, right: str, path: str) -> list[Difference]:
    """Where two runtimes of one matrix differ."""
    known = [column.name for column in matrix.runtimes]
    for name in (left, right):
        if name not in known:
            raise BadInput(f"{path}: {name!r} was not put under test there; there are {known}")
    return list(_differences(matrix, matrix, left, right))


def _differences(left: Matrix, right: Matrix, left_runtime: str, right_runtime: str) -> Iterator[Difference]:
    rows: dict[str, list[Row | None]] = {}
    for at, matrix in enumerate((left, right)):
        for _, check, row in matrix.rows():
            rows.setdefault(check, [None, None])[at] = row
    for check, (one, other) in rows.items():
        another = one and other and one.claim != other.claim
        for gone, there in [(one, None), (None, other)] if another else [(one, other)]:
            cells = gone.cells.get(left_runtime) if gone else None, there.cells.get(right_runtime) if there else None
            if len({cell.verdict if cell else None for cell in cells}) > 1:
                yield Difference(check, (left_runtime, right_runtime), cells)


def _require_one_catalogue(matrices: dict[str, Matrix]) -> None:
    """Raise BadInput where a check is another one in another file, or where all checks of an area have other names.

    A check that only one file has is none of its business: a run may be of a part of the catalogue.
    """
    known: dict[str, tuple[str, str, Row]] = {}
    for path, matrix in matrices.items():
        for area, rows in matrix.areas.items():
            origin = next((first for first, told_area, _ in known.values() if told_area == area), None)
            if origin and not rows.keys() & known.keys():
                problem = f"no check of {area!r} is one of those of {origin}"
                raise BadInput(f"{path}: {problem}: runs of two catalogues; {ADVICE}")
            for check, row in rows.items():
                origin, told_area, first = known.setdefault(check, (path, area, row))
                problem = f"its {check!r} is another check than that of {origin}"
                if (told_area, first.claim, first.severity) != (area, row.claim, row.severity):
                    raise BadInput(f"{path}: {problem}: runs of two catalogues; {ADVICE}")
                if first.digest and row.digest and first.digest != row.digest:
                    raise BadInput(f"{path}: {problem}, for it expects something else; {ADVICE}")


def _digest(area: Area | None, check: str) -> str:
    """A short name for what a check expects, from the catalogue of its run."""
    about = area.checks.get(check) if area else None
    return hashlib.sha256("\n".join(about.expect).encode()).hexdigest()[:12] if about else ""


def _errnos(result: Result) -> list[str]:
    """The errnos that a check's expectations name, those of what does not hold if it is red."""
    parts = [part for failure in result.failures for part in failure.values] or result.answers
    return list(dict.fromkeys(_errnos_in(parts, red=bool(result.failures))))


def _errnos_in(parts: Iterable[tuple[str, str]], red: bool) -> Iterator[str]:
    for name, value in parts:
        if name.endswith(".errno"):
            if match := ERRNO.fullmatch(value):
                yield match[1]
            elif value == "None" and red:
                yield SUCCESS
        else:
            yield from ERRNO_WITHIN.findall(value)
