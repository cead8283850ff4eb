"""The command: its verbs, its exit statuses, and one line for whatever is wrong."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli, lesson
from harness.bench.series import Benchmark, Round, Section, Series, Settings
from harness.bench.series import to_json as benchmark_to_json
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


def write_results(path: Path, outcome: str, **more: object) -> None:
    fields = {"path": "scenarios/uts.yaml", "line": 4, "runtime": "builtin", "claim": "a", "severity": "leak"}
    result = Result(check="uts-name", area="uts", outcome=outcome, **fields, **more)  # type: ignore[arg-type]
    from harness import environment

    path.write_text(
        to_json(Results(environment.facts(), [Runtime("builtin", "1")], [result], "2026-11-29T20:00:00+00:00", 1.0))
    )


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == "uts  uts-name  leak  The hostname is the one that was asked for\n"
    assert cli.main(["list", "runtimes"]) == 0
    rows = [re.split("  +", line) for line in capsys.readouterr().out.splitlines()]
    listed = {name: options for name, options, _ in rows}
    assert (listed["builtin"], listed["runc"]) == ("as-shipped, forked", "/PATH, as-shipped")
    assert cli.main(["list", "probes"]) == 0
    assert "identity " in capsys.readouterr().out
    assert cli.main(["list", "reports"]) == 0
    assert capsys.readouterr().out.startswith("html ")


def test_checks_are_listed_by_area_and_severity(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SCENARIO.replace("uts-name", "net-name").replace("leak", "escape")
    (project / "scenarios" / "net.yaml").write_text(text)

    def listed(*options: str) -> list[str]:
        assert cli.main(["list", *options]) == 0
        return [line.split()[1] for line in capsys.readouterr().out.splitlines()]

    assert listed() == ["net-name", "uts-name"]
    assert listed("--area", "net") == listed("--severity", "escape") == ["net-name"]
    assert listed("--area", "net", "--severity", "leak") == []


@pytest.mark.parametrize("verb", [["list"], ["explain", "uts-name"]])
def test_what_a_scenario_says_acts_on_no_terminal(
    project: Path, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    hostile = r'"\e[2J\x9b31m\u202e\e]52;c;eA==\a\r##[error]x"'
    scenario = SCENARIO.replace("A container has names of its own", hostile).replace("too old", hostile)
    scenario = scenario.replace("The hostname is the one that was asked for", hostile)
    (project / "scenarios" / "uts.yaml").write_text(f"{scenario}    why: {hostile}\n    see: [{hostile}]\n")
    assert cli.main(verb) == 0
    told = capsys.readouterr().out
    assert r"\x1b[2J" in told
    assert all(line.isprintable() for line in told.split("\n"))
    assert "##[" not in told


def test_shapes_are_listed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "scenarios" / "shapes").mkdir()
    (project / "scenarios" / "shapes" / "small.yaml").write_text("title: A small container\ncontainer: {pids: 9}\n")
    assert cli.main(["list", "shapes"]) == 0
    assert capsys.readouterr().out == "small  A small container\n"


def test_explain_tells_a_check_to_a_learner(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    more = """    why: It is copied from the host.
    see: [uts_namespaces(7), CVE-2000-1234, moby oci/defaults.go]
    also: [LTP utsname01]
    canaries: {bait: process}
"""
    (project / "scenarios" / "uts.yaml").write_text(SCENARIO + more)
    assert cli.main(["explain", "uts-name"]) == 0
    parts = capsys.readouterr().out.split("\n\n")
    told = {part[: lesson.LABEL].strip(): part[lesson.LABEL :].rstrip("\n") for part in parts[1:]}
    assert parts[0] == (
        "uts-name: The hostname is the one that was asked for\nscenarios/uts.yaml:4: A container has names of its own"
    )
    assert told["why"] == "It is copied from the host."
    assert told["failure"] == "leak: tells about the host or a neighbour"
    assert told["probed"].startswith("inside: identity, by probes/identity.py: ")
    assert "bait on the host: bait, of the kind process: " in told["probed"]
    assert told["good"] == "inside.identity.hostname == config.hostname"
    assert "must go red under skip-ns=uts: Do not make this namespace" in told["proven"]
    assert told["needs"] == "environment.kernel >= [5, 12], else: too old"
    assert (told["CVEs"], told["also in"]) == ("CVE-2000-1234", "LTP utsname01")
    assert (told["read next"], told["sources"]) == ("uts_namespaces(7)", "moby oci/defaults.go")
    assert told["run"] == (
        "isoproof verify 'scenarios/uts.yaml::uts-name[builtin]'\n"
        "prove     isoproof verify scenarios/uts.yaml -k uts-name --prove"
    )
    assert "seen" not in told


def test_explain_leaves_out_bait_that_a_check_has_only_from_its_area(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bait = "canaries: {secret: file, note: file}\nchecks:"
    other = """  uts-two:
    claim: Another
    expect: [not inside.open_file.errno]
    observe: {open_file: {probe: open_file, args: {path: canary.note.path}}}
    sabotage: skip-ns=uts
    severity: leak
"""
    (project / "scenarios" / "uts.yaml").write_text(SCENARIO.replace("checks:", bait) + other)
    assert cli.main(["explain", "uts-name"]) == 0
    assert "bait on the host" not in capsys.readouterr().out
    assert cli.main(["explain", "uts-two"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "bait on the host: note, " in told
    assert "bait on the host: secret" not in told


def test_explain_shows_what_the_last_run_has_seen(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "reports").mkdir()
    path = project / "reports" / "isolation.json"
    write_results(path, "pass", answers=[("inside.identity.hostname", "'cell\x1b'")])
    assert cli.main(["explain", "uts-name"]) == 0
    text = capsys.readouterr().out
    assert "seen      on builtin, 2026-11-29T20:00:00+00:00:\n" in text
    assert "inside.identity.hostname = 'cell\\x1b'\n" in text
    path.write_text("not a report")
    assert cli.main(["explain", "uts-name"]) == 0
    assert "seen" not in capsys.readouterr().out


@pytest.mark.usefixtures("needs_openat2")
def test_run_explain_tells_times_of_the_last_benchmark(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "rootfs").mkdir()
    (project / "rootfs" / "sh").write_text("")
    (project / "rootfs" / "sh").chmod(0o755)
    assert cli.main(["spec", "."]) == 0
    command = ["run", "--explain", ".", "--", "/sh"]
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert " us)" not in told
    assert told.endswith("\n# No times are known: make bench measures them.\n")
    (project / "reports").mkdir()
    phase = Section("Phases", "Which?", {"hostname": Series([Round(first=2500)])})
    found = Benchmark("2026-01-01", 1.0, {}, Settings(1, 0.0, 0), {}, {"phases": phase})
    (project / "reports" / "benchmark.json").write_text(benchmark_to_json(found))
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert "hostname (2.5 us): a new UTS namespace begins with the host's hostname: uts_namespaces(7)" in told
    assert "\n# Times are medians of the benchmark of 2026-01-01" in told
    found.started = "\x1b[2J\n::"
    (project / "reports" / "benchmark.json").write_text(benchmark_to_json(found))
    assert cli.main(command) == 0
    assert "\n# Times are medians of the benchmark of \\x1b[2J\\n::, in" in capsys.readouterr().out
    (project / "reports" / "benchmark.json").write_text("{")
    assert cli.main(command) == 0
    assert capsys.readouterr().out.endswith("\n# No times are known: make bench measures them.\n")


def test_explain_keeps_to_the_width_of_the_terminal(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    (project / "scenarios" / "uts.yaml").write_text(SCENARIO + f"    why: {'word ' * 40}\n")
    assert cli.main(["explain", "uts-name"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "word" in line) in range(55, 61)


def test_report_renders_again_and_tells_of_failures(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(project / "good.json", "pass")
    assert cli.main(["report", "good.json"]) == 0
    assert "uts  1/1\n" in capsys.readouterr().out
    assert cli.main(["report", "good.json", "--verbose", "--color", "yes"]) == 0
    assert "  uts-name  \x1b[32mpass\x1b[0m\n" in capsys.readouterr().out
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
        (["verify", "nowhere", "-q"], "isoproof: open nowhere: no such file or directory; name a scenario"),
        (["verify", "."], "isoproof: .: no scenario files"),
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
