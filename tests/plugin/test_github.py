"""A run in GitHub Actions annotates what fails and adds to the summary of its job, unless it is told not to."""

from pathlib import Path

import pytest

from tests.plugin.project import GOOD, Project, check

pytest_plugins = ["pytester"]

FAILING = GOOD + check("uts-wrong", "shared", severity="escape")


@pytest.fixture
def summary(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where GitHub wants the summary, in a run of its Actions."""
    path = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


@pytest.mark.parametrize("options", [[], ["-q"], ["-n", "1"]])
def test_failures_are_annotated_and_summarized(project: Project, summary: Path, options: list[str]) -> None:
    project.write("scenarios/uts.yaml", FAILING)
    run = project.run(*options)
    place = f"file={project.path.name}/scenarios/uts.yaml,line=13"
    [line] = [line for line in run.outlines if line.startswith("::")]
    assert line.startswith(f"::error {place},title=uts-wrong on builtin (escape)::The claim of uts-wrong%0A")
    assert summary.read_text().startswith("\n# Isolation\n\n❌ **1 of 2 checks do not hold")
    run.stdout.fnmatch_lines(["reports: *, and the summary of the job"])


def test_nothing_is_told_to_github_where_that_is_not_wanted(project: Project, summary: Path) -> None:
    project.write("scenarios/uts.yaml", FAILING)
    project.run("--no-github").stdout.no_fnmatch_line("::*")
    assert not summary.exists()


def test_nothing_is_told_to_github_elsewhere(project: Project) -> None:
    project.write("scenarios/uts.yaml", FAILING)
    project.run().stdout.no_fnmatch_line("::*")


def test_a_summary_that_cannot_be_written_spoils_nothing(
    project: Project, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "nowhere/summary.md")
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run()
    assert run.ret == 0
    run.stdout.fnmatch_lines(["reports: *; no summary of the job: open nowhere/summary.md: No such file or directory"])


def test_a_summary_that_is_full_is_left_alone(project: Project, summary: Path) -> None:
    summary.write_text("x" * 1024 * 1000)
    project.write("scenarios/uts.yaml", GOOD)
    project.run().stdout.fnmatch_lines(["reports: *; the summary of the job is full"])
    assert summary.stat().st_size == 1024 * 1000


def test_ordinary_tests_tell_nothing(project: Project, summary: Path) -> None:
    project.write("test_a.py", "def test_a(): assert False\n")
    project.run().stdout.no_fnmatch_line("::*")
    assert not summary.exists()
