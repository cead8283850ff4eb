"""The command: its verbs, its exit statuses, and one line for whatever is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli
from harness.results import Result, Results, Runtime, to_json

ROOT = Path(__file__).resolve().parents[2]

SCENARIO = """
title: A container has names of its own
checks:
  uts-name:
    claim: The hostname is the one that was asked for
    expect: [inside.identity.hostname == config.hostname]
    sabotage: [no-sethostname, skip-ns=uts]
    severity: leak
    requires: {"environment.kernel >= [5, 12]": too old}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "uts.yaml").write_text(SCENARIO)
    return tmp_path


def write_results(path: Path, outcome: str) -> None:
    fields = {"path": "scenarios/uts.yaml", "line": 4, "runtime": "builtin", "claim": "a", "severity": "leak"}
    result = Result(check="uts-name", area="uts", outcome=outcome, **fields)  # type: ignore[arg-type]
    from harness import environment

    path.write_text(to_json(Results(environment.facts(), [Runtime("builtin", "1")], [result], "now", 1.0)))


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == "uts  uts-name  leak  The hostname is the one that was asked for\n"
    assert cli.main(["list", "runtimes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()][:2] == ["builtin", "null"]
    assert cli.main(["list", "probes"]) == 0
    assert "identity " in capsys.readouterr().out
    assert cli.main(["list", "reports"]) == 0
    assert capsys.readouterr().out.startswith("json ")


def test_explain_says_all_about_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "uts-name"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "scenarios/uts.yaml:4: uts-name (leak)"
    assert "must go red under: skip-ns=uts" in lines
    assert "requires: environment.kernel >= [5, 12] (else: too old)" in lines
    assert "observes inside: identity, by probes/identity.py" in lines


def test_report_renders_again_and_tells_of_failures(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(project / "good.json", "pass")
    assert cli.main(["report", "good.json"]) == 0
    assert "uts-name" in capsys.readouterr().out
    write_results(project / "bad.json", "fail")
    assert cli.main(["report", "bad.json", "--format", "markdown"]) == 1
    assert capsys.readouterr().out.startswith("# Isolation")
    assert cli.main(["report", "bad.json", "--format", "json"]) == 1
    assert capsys.readouterr().out == (project / "bad.json").read_text()


def test_lint_counts_checks_and_shows_every_mistake(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint"]) == 0
    assert capsys.readouterr().out == "1 checks without mistakes\n"
    (project / "scenarios" / "net.yaml").write_text(SCENARIO.replace("title", "titel").replace("leak", "leek"))
    (project / "scenarios" / "known").mkdir()
    (project / "scenarios" / "known" / "runc.yaml").write_text("fail: {}\n")
    assert cli.main(["lint"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        *["scenarios/net.yaml"] * 3,
        "scenarios/known/runc.yaml",
    ]


def test_spec_writes_a_config_that_the_runtime_reads(project: Path) -> None:
    from harness.runtime.config import read

    assert cli.main(["spec", str(project)]) == 0
    read(json.loads((project / "config.json").read_text()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "nowhere"], "isoproof: open nowhere: no such bundle"),
        (["run", "--explain", "nowhere"], "isoproof: open nowhere: no such bundle"),
        (["run", "nowhere", "--", "sh"], "isoproof: open nowhere: no such bundle"),
        (["spec", "nowhere"], "isoproof: write nowhere/config.json: No such file or directory"),
        (["explain", "uts-nam"], "isoproof: no check 'uts-nam' in scenarios; did you mean 'uts-name'?"),
        (["explain", "x"], "isoproof: no check 'x' in scenarios; isoproof list names them all"),
        (["report"], "isoproof: open reports/isolation.json: No such file"),
        (["report", "scenarios/uts.yaml"], "isoproof: scenarios/uts.yaml: not a result list"),
        (["report", "--format", "pdf"], "isoproof: no such report format: pdf"),
        (["lint", "nowhere"], "isoproof: open nowhere: no such file or directory"),
        (["lint", "."], "isoproof: .: no scenario files"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["prove"], ["run"], ["run", "a", "b"], ["list", "--", "a"], ["run", "--deadline", "0", "a"], ["list", "x"]],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("isoproof")
    assert error.count("\n") == 1


def test_spec_overwrites_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "config.json").write_text("mine")
    assert cli.main(["spec", "."]) == 2
    assert capsys.readouterr().err == "isoproof: write config.json: File exists\n"
    assert (project / "config.json").read_text() == "mine"


def test_a_reader_that_goes_away_is_no_error() -> None:
    # A pipe whose reading end is closed already: the first write meets EPIPE.
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "harness.cli", "list", "probes"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_doctor_names_every_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) in (0, 1)
    names = [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"machine", "capabilities", "runtime builtin", "runtime runc", "outer sandbox"} <= set(names)
