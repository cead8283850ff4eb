"""What make matrix does: a run on several runtimes, in one process or in two, and the matrix made of it."""

import pytest

from harness import cli, matrix
from tests.plugin.project import GOOD, Project, check

pytest_plugins = ["pytester"]

RUNTIMES = ("--runtime", "builtin", "--runtime", "builtin:as-shipped")


@pytest.fixture(autouse=True)
def scenarios(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)
    project.write("scenarios/uts.yaml", GOOD + check("uts-shared", "shared"))


def test_failing_checks_are_answers(project: Project) -> None:
    assert project.run(*RUNTIMES).ret == 1
    assert cli.main(["report", "--matrix"]) == 0
    made = matrix.read(project.path / "reports/matrix.json")
    verdicts = {check: [cell.verdict for cell in row.cells.values()] for _, check, row in made.rows()}
    assert verdicts == {"uts-name": ["pass", "pass"], "uts-shared": ["fail", "fail"]}
    assert [(column.name, bool(column.version)) for column in made.runtimes] == [
        ("builtin", True),
        ("builtin:as-shipped", True),
    ]


def test_on_the_runtime_that_does_nothing_there_is_no_answer(project: Project) -> None:
    project.run("--runtime", "null")
    assert cli.main(["report", "--matrix"]) == 1
    assert matrix.read(project.path / "reports/matrix.json").outcomes("null") == {"error": 2}


def test_two_processes_come_to_the_same_verdicts(project: Project) -> None:
    project.run(*RUNTIMES, "--runtime", "null", "--reports", "one")
    done = project.pytester.runpytest_subprocess("-n", "2", *RUNTIMES, "--runtime", "null", "--reports", "two")
    done.assert_outcomes(passed=2, failed=4)
    assert cli.main(["report", "--diff", "one/isolation.json", "two/isolation.json"]) == 0
