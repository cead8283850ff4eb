"""What is said to GitHub Actions: no more than it shows, and nothing that a container has made up."""

import re
from pathlib import Path

import pytest

from harness.report import _github, markdown, terminal
from harness.report._text import without_commands
from harness.results import LONGEST_TEXT, Failure, Result
from tests.unit.test_results import HOSTILE, a_failure, a_result, some_results

HERE = Path()


def annotations(*results: Result, workspace: Path = HERE) -> list[str]:
    return list(_github.annotations(some_results(*results), workspace))


def test_what_does_not_hold_is_an_error_at_its_line() -> None:
    failing = a_result("uts-b", "fail", shape="userns", failures=[a_failure()])
    assert annotations(a_result(), a_result("uts-c", "xfail"), a_result("uts-d", "skip"), failing) == [
        "::error file=scenarios/uts.yaml,line=9,title=uts-b[userns] on builtin (leak)::"
        "The hostname is its own%0A"
        "inside.identity.hostname != host.identity.hostname%0A"
        "    inside.identity.hostname = 'host'%0A"
        "    host.identity.hostname = 'host'"
    ]


def test_what_could_not_be_judged_is_a_warning() -> None:
    assert annotations(a_result(outcome="error", reason="100% late")) == [
        "::warning file=scenarios/uts.yaml,line=7,title=uts-a on builtin (leak)::The hostname is its own%0A100%25 late"
    ]


def test_files_are_named_below_the_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    [line] = annotations(a_result(outcome="fail"), workspace=tmp_path)
    assert "file=below/scenarios/uts.yaml," in line


def test_no_more_than_github_shows_and_the_worst_first() -> None:
    failing = [a_result(f"f-{number}", "fail", severity="hygiene") for number in range(14)]
    erring = [a_result(f"e-{number}", "error") for number in range(12)]
    lines = annotations(*failing, *erring, a_result("worst", "fail", severity="escape"))
    levels = [line.partition(" ")[0] for line in lines]
    assert levels == ["::error"] * 10 + ["::warning"] * 10 + ["::notice"]
    assert "title=worst on builtin (escape)" in lines[0]
    assert lines[-1].endswith("::7 more checks failed or could not be judged; the summary has them")


def commands(text: str) -> list[str]:
    """The commands that a runner finds in its log, as it looks for them."""
    found = [line for line in map(str.lstrip, text.splitlines()) if re.match("::[^:]+::", line)]
    return found + re.findall(r"##\[[^\]]+\]", text)


@pytest.mark.parametrize(
    "hostile",
    [
        *HOSTILE,
        "a\n::stop-commands::x",
        "a\r\n  ::set-env name=x::y",
        "x ##[add-mask]pass",
        "::error::",
        "%0A::error::",
    ],
)
def test_a_container_gives_no_commands(hostile: str) -> None:
    broken = Failure(hostile, hostile, 9, [(hostile, hostile)])
    hostile_result = a_result(hostile, "fail", reason=hostile, failures=[broken], claim=hostile, path=hostile)
    [line] = annotations(hostile_result)
    assert "\n" not in line
    assert "\r" not in line
    [command] = commands(line)
    properties, _, text = command.removeprefix("::error ").partition("::")
    assert re.fullmatch(r"file=[^,:]*,line=9,title=[^,:]*", properties)
    assert "%0A::" not in text
    skipped = a_result("b", "skip", reason=f"{'x' * 78}{hostile}")  # where the line ends on a terminal
    told = [terminal.failure(hostile_result, some_results().environment), terminal.render(some_results(skipped))]
    assert [commands(text) for text in told] == [[], []]
    assert commands(markdown.render(some_results(hostile_result, skipped))) == []


@pytest.mark.parametrize("text", ["a\n  b :: c", "std::fs::read", "::", "listen on ::1 [::]", "# [x](y)", "a ## b"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert without_commands(text).replace("\\x3a", ":") == text
    if not text.startswith("::"):
        assert without_commands(text) == text


def test_an_annotation_is_not_too_long() -> None:
    [line] = annotations(a_result(outcome="fail", reason="x\n" * LONGEST_TEXT))
    assert len(line) < 4000 * 3 + 200


def test_the_summary_is_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    assert _github.add_summary(some_results(a_result()), path)
    assert path.read_text() == f"before\n\n{markdown.render(some_results(a_result()))}"


def test_the_summary_of_all_steps_is_never_too_long(tmp_path: Path) -> None:
    """GitHub refuses all of it otherwise."""
    path = tmp_path / "summary.md"
    results = some_results(*(a_result(f"uts-{number}", "fail", reason="x" * 900) for number in range(600)))
    added = [_github.add_summary(results, path) for _ in range(20)]
    assert added[:2] == [True, True]
    assert not added[-1]
    assert path.stat().st_size <= 1024 * 1000
    assert path.read_text().count("<details>") == path.read_text().count("</details>")
