"""The catalogue of isolations: each has its check, its test or a reason, and each check has its place there."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from harness import agreement, backends, scenario
from harness.outcomes import STARTS
from tests.test_repository import ROOT, SCENARIOS, complain, misfits

CATALOGUE = ROOT / "tests/catalogue.txt"
KNOWN = sorted((ROOT / "scenarios/known").glob("*.yaml"))
NAME = r"[a-z0-9]+(?:-[a-z0-9]+)+"
LINE = re.compile(rf"({NAME}(?: {NAME})*)(?:: (\S.*))?")


class Row(NamedTuple):
    """One isolation: its area, what else checks for it are called, and the reason if nothing checks it."""

    name: str
    area: str
    others: list[str]
    reason: str

    def fits(self, check: str) -> bool:
        return check in self.others or f"{check}-".startswith(f"{self.name}-")


@functools.cache
def rows() -> list[Row]:
    """The lines of the catalogue; every name in it stands there once."""
    found: list[Row] = []
    names: set[str] = set()
    area = ""
    for number, line in enumerate(CATALOGUE.read_text().splitlines(), 1):
        where = f"{CATALOGUE.relative_to(ROOT)}:{number}"
        if line.startswith("#"):
            area = line.removeprefix("# ")
        elif line:
            match = LINE.fullmatch(line)
            assert match, f"{where}: not names, or a name, a colon and a reason: {line}"
            name, *others = match[1].split(" ")
            assert not names & {name, *others}, f"{where}: it stands above already: {line}"
            names |= {name, *others}
            found.append(Row(name, area, others, match[2] or ""))
    return found


@functools.cache
def checks() -> dict[str, str]:
    """The area of every check."""
    return {name: path.stem for path in SCENARIOS for name in yaml.safe_load(path.read_text())["checks"]}


@functools.cache
def shapes() -> dict[str, set[str]]:
    """The shapes in which every check is made, as known findings name them."""
    made = [check for path in SCENARIOS for check in scenario.load(path).checks]
    return {check.name: {each.shape or "own" for each in check.everywhere()} for check in made}


def row_of(check: str) -> Row | None:
    """The row that a check is made for: the most exact of those that fit."""
    fitting = [row for row in rows() if row.fits(check)]
    return max(fitting, key=lambda row: (check in row.others, len(row.name)), default=None)


def docstrings(path: Path) -> Iterator[str]:
    """What the tests of a file say about themselves."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield ast.get_docstring(node) or ""


def test_every_row_has_a_check_a_test_or_a_reason() -> None:
    made = {row.name for check in checks() if (row := row_of(check))}
    texts = [text for path in (ROOT / "tests").rglob("test_*.py") for text in docstrings(path)]
    tested = {word for text in texts for word in re.findall(NAME, text)}
    problems = []
    for row in rows():
        if not row.reason and row.name not in made | tested:
            problems.append(f"{row.name}: no check of this name, no test whose docstring names it, and no reason why")
        if row.reason and row.name in made | tested:
            problems.append(f"{row.name}: is checked, although {CATALOGUE.name} says: {row.reason}")
        problems += [f"{row.name}: there is no check {name}" for name in row.others if name not in checks()]
    complain(problems)


def test_every_check_has_a_row() -> None:
    complain(
        [
            f"scenarios/{area}.yaml: {check} is made for no row of {CATALOGUE.relative_to(ROOT)}"
            for check, area in checks().items()
            if not row_of(check)
        ]
    )


def test_rows_stand_under_the_names_of_their_scenarios() -> None:
    complain(
        [
            f"scenarios/{area}.yaml: {check} is made for {row.name}, which stands under {row.area}"
            for check, area in checks().items()
            if (row := row_of(check)) and row.area != area
        ]
    )


@pytest.mark.parametrize("path", KNOWN, ids=lambda path: path.name)
def test_what_is_known_is_of_checks_and_a_runtime_that_there_are(path: Path) -> None:
    """An entry of a check that has another name now would hold for nothing, and nobody would notice."""
    problems = misfits(path, "known.schema.json")
    known: dict[str, Any] = yaml.safe_load(path.read_text())
    if not any(f"{path.stem}-".startswith(f"{name}-") for name in backends.names()):
        problems.append(f"{path.name}: no runtime of this name, with options behind it or not")
    named = [name for part in ("fails", "skips") for name in known.get(part, {})]
    problems += [f"{path.name}: there is no check {name}" for name in named if name not in checks()]
    for name, finding in known.get("fails", {}).items():
        unmade = set(finding.get("shapes", [])) - shapes().get(name, set())
        problems += [f"{path.name}: {name} is not made in the shape {shape}" for shape in sorted(unmade)]
    told = (f"{STARTS} ", *(claim.path for claim in agreement.CLAIMS))
    differs = known.get("differs", {})
    problems += [
        f"{path.name}: nothing tells of {one}: see isoproof fuzz" for one in differs if not one.startswith(told)
    ]
    complain(problems)
