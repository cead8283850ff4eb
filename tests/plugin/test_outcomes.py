"""What becomes of outcomes: known findings, skips, reports; and what pytest pays where there are no scenarios."""

import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

from harness import backends, environment, sabotage
from harness.report import junit
from harness.timing import Timing
from tests.plugin.project import GOOD, Project, check

pytest_plugins = ["pytester"]

OUTCOMES = ("failure", "error", "skipped")
KNOWN = """
fails:
  uts-known:
    reason: it shares the name with the host (issue 12)
skips:
  uts-absent:
    reason: it has no such thing
"""


def test_a_known_finding_is_expected_and_a_known_lack_skipped(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-known", "shared") + check("uts-absent", "silent"))
    project.write("scenarios/known/builtin.yaml", KNOWN)
    run = project.run("--prove")
    run.assert_outcomes(passed=2, xfailed=1, skipped=3)
    assert project.outcomes() == {"uts-name": "pass", "uts-known": "xfail", "uts-absent": "skip"}
    reasons = {result.check: result.reason for result in project.results().results}
    assert reasons["uts-known"] == "it shares the name with the host (issue 12)"
    assert reasons["uts-absent"] == "it has no such thing"
    run.stdout.fnmatch_lines(["skip on builtin, 1 x: it has no such thing", "xfail on builtin, 1 x: it shares*"])


def test_a_known_finding_that_holds_again_must_leave_the_list(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-known"))
    project.write("scenarios/known/builtin.yaml", KNOWN)
    project.run().assert_outcomes(passed=1, failed=1)
    [known] = [result for result in project.results().results if result.check == "uts-known"]
    assert known.outcome == "fail"
    assert known.reason == "it holds, but scenarios/known/builtin.yaml says that it fails"


@pytest.mark.parametrize(
    ("version", "known", "other"), [("1.1", "xfail", "fail"), ("1.2", "fail", "xfail"), ("", "fail", "fail")]
)
def test_what_is_known_of_other_versions_is_not_expected(
    project: Project, monkeypatch: pytest.MonkeyPatch, version: str, known: str, other: str
) -> None:
    monkeypatch.setattr(backends, "version", lambda runtime: version)
    project.write("scenarios/uts.yaml", GOOD + check("uts-known", "shared") + check("uts-other", "shared"))
    entries = 'uts-known: {reason: old, versions: "<1.2"}\n  uts-other: {reason: new, versions: ">=1.2"}\n'
    project.write("scenarios/known/builtin.yaml", f"fails:\n  {entries}")
    project.run()
    assert project.outcomes() == {"uts-name": "pass", "uts-known": known, "uts-other": other}


def test_a_mended_finding_is_told_with_the_versions_that_it_is_listed_for(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    project.write("scenarios/known/builtin-as-shipped.yaml", 'fails:\n  uts-name: {reason: old, versions: ">=0"}\n')
    project.run("--runtime", "builtin:as-shipped").assert_outcomes(failed=1)
    [result] = project.results().results
    told = "scenarios/known/builtin-as-shipped.yaml (versions >=0)"
    assert result.reason == f"it holds, but {told} says that it fails"


def test_an_error_is_never_a_known_finding(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-known", "silent"))
    project.write("scenarios/known/builtin.yaml", KNOWN)
    project.run().assert_outcomes(passed=1, failed=1)
    assert project.outcomes()["uts-known"] == "error"


@pytest.mark.parametrize("must_run", [False, True])
def test_a_requirement_that_is_not_met_skips_always(
    project: Project, monkeypatch: pytest.MonkeyPatch, must_run: bool
) -> None:
    monkeypatch.setenv("ISOPROOF_MUST_RUN", str(int(must_run)))
    requires = '{"environment.kernel >= [99, 0]": a kernel of the future}'
    project.write("scenarios/uts.yaml", GOOD + check("uts-future", requires=requires))
    project.run().assert_outcomes(passed=1, skipped=1)
    [future] = [result for result in project.results().results if result.check == "uts-future"]
    assert (future.outcome, future.reason) == ("skip", "a kernel of the future")


@pytest.mark.parametrize("must_run", [False, True])
@pytest.mark.parametrize("lack", ["available", "unsupported"])
def test_a_lack_of_the_machine_skips_unless_all_must_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, must_run: bool, lack: str
) -> None:
    monkeypatch.setenv("ISOPROOF_MUST_RUN", str(int(must_run)))
    backend = backends.load("builtin")
    answer: Any = (lambda: "no namespaces here") if lack == "available" else (lambda config: ["no namespaces here"])
    monkeypatch.setattr(backend, lack, answer)
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run()
    [result] = project.results().results
    assert "no namespaces here" in result.reason
    if must_run:
        run.assert_outcomes(failed=1)
        assert (result.outcome, run.ret) == ("error", 1)
        run.stdout.fnmatch_lines(["*reason: ISOPROOF_MUST_RUN=1, but this cannot run here: *no namespaces here"])
    else:
        run.assert_outcomes(skipped=1)
        assert result.outcome == "skip"


def test_what_a_container_says_does_not_reach_the_terminal_raw(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-hostile", "hostile"))
    run = project.run()
    run.stdout.fnmatch_lines(["*inside.identity.hostname = *x1b[[]2J*"])
    assert "\x1b" not in run.stdout.str()
    assert "\x1b" not in (project.path / "reports" / "isolation.md").read_text()


def test_reports_go_where_they_are_wanted(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    project.run("--reports", "elsewhere/results")
    assert (project.path / "elsewhere" / "results" / "isolation.json").exists()
    assert not (project.path / "reports").exists()


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_results_say_what_their_checks_are_about(project: Project, workers: list[str]) -> None:
    about = {"why": "It tells whose it is", "see": "[uname(2)]", "also": "[runc]"}
    project.write("scenarios/uts.yaml", GOOD + check("uts-two", **about) + check("uts-left-out"))
    project.write("scenarios/pid.yaml", GOOD.replace("uts-name", "pid-name"))
    assert project.pytester.runpytest_subprocess(*workers, "-k", "uts-name or uts-two").ret == 0
    [(area, told)] = project.results().catalogue.items()
    assert (area, told.title, list(told.checks)) == ("uts", "A container has names of its own", ["uts-name", "uts-two"])
    two = told.checks["uts-two"]
    assert (two.why, two.see, two.also) == ("It tells whose it is", ["uname(2)"], ["runc"])
    assert two.expect == ["inside.identity.hostname == config.hostname"]
    assert two.sabotages == {"no-sethostname": sabotage.purpose("no-sethostname")}


def test_reports_that_cannot_be_written_are_no_success(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    project.write("elsewhere", "a file in the way")
    run = project.run("--reports", "elsewhere")
    run.assert_outcomes(passed=1)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stdout.fnmatch_lines(["reports: not written: open elsewhere: File exists; --reports DIR names another folder"])


def test_quiet_shows_areas_alone(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run("-q")
    run.stdout.re_match_lines([r"uts +1/1", r"builtin +1 +0 +0 +0 +0"])
    run.stdout.no_re_match_line(r"time \d")
    run.stdout.no_re_match_line(r".*uts-name.*")


def test_twice_quiet_shows_failures_and_a_line_of_totals(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-shared", "shared"))
    run = project.run("-qq")
    at = next(number for number, line in enumerate(run.outlines) if line.startswith("FAILED "))
    *told, written = run.outlines[at + 1 :]
    assert told == [
        "fail on builtin, 1 x: leak: tells about the host or a neighbour",
        "  uts-shared",
        "",
        "builtin: 1 pass, 1 fail",
    ]
    assert written.startswith("reports: reports/isolation.json, ")


def test_the_answer_stands_behind_the_list_of_failures(project: Project) -> None:
    many = "".join(check(f"uts-{number}", "silent") for number in range(30))
    project.write("scenarios/uts.yaml", GOOD + many)
    run = project.run("-ra")
    lines = run.outlines
    last_listed = max(number for number, line in enumerate(lines) if line.startswith("FAILED "))
    behind = lines[last_listed + 1 :]
    assert len(behind) < 25
    assert "error on builtin, 30 x: the container did not run: nothing was reported" in behind
    assert any(re.fullmatch("uts  1/31 E", line) for line in behind)


def properties(element: xml.etree.ElementTree.Element) -> dict[str | None, str | None]:
    return {entry.get("name"): entry.get("value") for entry in element.findall("properties/property")}


def test_junit_carries_the_facts(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    project.run("--junitxml=junit.xml", "--prove")
    suite = xml.etree.ElementTree.parse(project.path / "junit.xml").getroot()[0]
    case, proof = suite.findall("testcase")
    assert case.get("classname") == "scenarios.uts.yaml"
    about = {
        "claim": "The hostname is the one that was asked for",
        "severity": "leak",
        "area": "uts",
        "runtime": "builtin",
    }
    assert properties(case) == about | {"outcome": "pass"}
    assert properties(proof) == about | {"proof": "proven", "proof by no-sethostname": "proven"}
    assert properties(suite)["release"] == environment.facts()["release"]
    assert properties(suite)["environment"] == environment.one_line(environment.facts())


def test_junit_is_the_same_made_by_us(project: Project) -> None:
    """The same cases under the same names, with the same outcomes; but what has no verdict is an error in ours."""
    project.write("scenarios/uts.yaml", GOOD + check("uts-wrong", "shared") + check("uts-late", "silent"))
    project.write("scenarios/known/builtin.yaml", "skips: {uts-name: {reason: it has no such thing}}\n")
    project.run("--junitxml=junit.xml", "--prove")
    made = [
        sorted(
            (str(case.get("classname")), str(case.get("name")), *(part.tag for part in case if part.tag in OUTCOMES))
            for case in text.iter("testcase")
        )
        for text in (
            xml.etree.ElementTree.parse(project.path / "junit.xml").getroot(),
            xml.etree.ElementTree.fromstring(junit.render(project.results()).encode()),
        )
    ]
    assert {outcome for _, _, *rest in made[1] for outcome in rest} == {"failure", "error", "skipped"}
    assert made[0] == [tuple("failure" if part == "error" else part for part in case) for case in made[1]]


def counted(timing: Timing) -> float:
    sides = [timing.session, *timing.checks.values(), *timing.proofs.values()]
    return sum(length for parts in sides for length in parts.values())


def test_where_the_time_went_sums_to_the_whole(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-more") + check("uts-other", "cell-2"))
    project.write("scenarios/net.yaml", GOOD.replace("uts", "net").replace("cell-1", "cell-3"))
    run = project.run("--prove")
    run.assert_outcomes(passed=8)
    results = project.results()
    timing = results.timing
    assert timing
    # Each of some dozens is rounded to a microsecond.
    assert counted(timing) == pytest.approx(timing.milliseconds, abs=0.1)
    assert timing.milliseconds == pytest.approx(results.milliseconds, rel=0.5)
    assert timing.checks.keys() == timing.proofs.keys() == {"net", "uts"}
    assert {"collect", "rest"} < timing.session.keys()
    for side in (timing.checks, timing.proofs):
        assert {"start", "probes", "exchange", "judge", "rest"} <= side["uts"].keys()
    assert all("sandboxes" in parts for parts in timing.proofs.values())
    served = {(*launch.checks, launch.sabotage) for launch in timing.slowest}
    shared = [("uts-name", "uts-more"), ("uts-other",), ("net-name",)]
    assert served == {(*names, knob) for names in shared for knob in ("", "no-sethostname")}
    run.stdout.re_match_lines([r"time \d+\.\d s\b"])
    assert "Time by part" in (project.path / "reports" / "isolation.md").read_text()


def test_times_of_workers_arrive_at_the_controller(project: Project) -> None:
    """What pytest-xdist does, done by hand: a worker's output travels as text in its node."""
    project.write("scenarios/uts.yaml", GOOD)
    project.run()
    alone = project.results().timing
    assert alone
    project.write(
        "conftest.py",
        (project.path / "conftest.py").read_text()
        + """
import types


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    from harness import plugin

    session.config.workeroutput = {}
    plugin.pytest_sessionfinish(session)
    recorder = session.config.pluginmanager.get_plugin("isoproof-recorder")
    for _ in range(2):
        recorder.pytest_testnodedown(types.SimpleNamespace(workeroutput=session.config.workeroutput))
    recorder.pytest_testnodedown(types.SimpleNamespace())
""",
    )
    project.run()
    timing = project.results().timing
    assert timing
    assert timing.processes == 2
    assert counted(timing) == pytest.approx(timing.milliseconds, abs=0.1)
    assert timing.checks["uts"].keys() == alone.checks["uts"].keys()


def test_ordinary_tests_get_no_reports_of_ours(project: Project) -> None:
    project.write("test_a.py", "def test_a(): pass")
    run = project.run()
    run.assert_outcomes(passed=1)
    run.stdout.no_fnmatch_line("*isolation*")
    assert not (project.path / "reports").exists()


def test_the_plugin_loads_the_harness_only_for_scenarios(project: Project) -> None:
    project.write("test_a.py", "def test_a(): pass")
    code = (
        "import sys, pytest; pytest.main(['-q']);"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('yaml', 'msgspec', 'harness')))"
    )
    environment = {"PYTHONPATH": str(Path(backends.__file__).parents[2]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(
        [
            "harness",
            "harness.errors",
            "harness.items",
            "harness.plugin",
            "harness.runtime",
            "harness.runtime.errors",
            "harness.severities",
        ]
    )
