"""The pytest plugin as its users meet it: pytest run on small scenarios, with a host role that is played here.

The host role below answers as one would whose containers keep the hostname that was asked for. Hostnames tell it to
misbehave, and so does every sabotage but `no-setdomainname`, which it does not feel.
"""

import json
import subprocess
import sys
import textwrap
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

# pytester forgets what a run has imported, but PyYAML's C half keeps the classes of its first import.
import harness.launches  # noqa: F401
from harness import backends
from harness.results import Results, from_json

pytest_plugins = ["pytester"]

PROJECT = """
[tool.pytest]
strict = true
filterwarnings = ["error"]
addopts = ["-p", "harness.plugin", "--color=no"]
"""

CONFTEST = """
import contextlib
import json

import pytest

from harness.errors import HarnessError


def log(name, value):
    with open(name, "a") as file:
        file.write(json.dumps(value) + "\\n")


class Host:
    def run(self, request, deadline):
        log("requests", request)
        asked = request["config"]["hostname"]
        felt = set(request["sabotage"]) - {"no-setdomainname"}
        if asked == "interrupted":
            raise KeyboardInterrupt
        if asked == "broken":
            raise HarnessError("run in outer sandbox: it has ended")
        ran = asked != "silent" and request["runtime"] != "null" and "join-late" not in felt
        hostname = "outer" if felt or asked == "shared" else "\\x1b[2J" if asked == "hostile" else asked
        seen = {"facts": {"hostname": hostname, "domainname": "a"}} if ran else {"error": "nothing was reported"}
        return {
            "inside": {name: seen for name in ["init", *request["inside"]]},
            "host": {name: {"facts": {"hostname": "outer"}} for name in request["host"]},
            "host_after": {},
            "canary": {},
            "config": request["config"],
            "container": {},
            "start": {"ran": ran, "refused": False, "status": 0, "message": ""},
            "milliseconds": 1.0,
            "error": None,
        }


@contextlib.contextmanager
def start():
    log("sandboxes", "started")
    try:
        yield Host()
    finally:
        log("sandboxes", "closed")


@pytest.fixture(scope="session")
def outer_sandbox():
    return start
"""

GOOD = """
title: A container has names of its own
container: {hostname: cell-1}
checks:
  uts-name:
    claim: The hostname is the one that was asked for
    expect:
      - inside.identity.hostname == config.hostname
      - inside.identity.hostname != host.identity.hostname
    sabotage: no-sethostname
    severity: leak
"""


def check(name: str, hostname: str = "", sabotage: str = "no-sethostname", severity: str = "leak", **more: Any) -> str:
    """One more check for GOOD, which has a container of its own if it has a hostname of its own."""
    lines = [
        f"  {name}:",
        f"    claim: The claim of {name}",
        f"    expect: [{more.pop('expect', 'inside.identity.hostname == config.hostname')}]",
        f"    sabotage: {sabotage}",
        f"    severity: {severity}",
        *([f"    container: {{hostname: {hostname}}}"] if hostname else []),
        *(f"    {key}: {value}" for key, value in more.items()),
    ]
    return "\n".join(lines) + "\n"


class Project:
    """A project with scenarios, on which pytest is run."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.write("pyproject.toml", PROJECT)
        self.write("conftest.py", CONFTEST)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=True)

    def results(self) -> Results:
        return from_json((self.path / "reports" / "isolation.json").read_text())

    def outcomes(self) -> dict[str, str | None]:
        return {result.check: result.outcome for result in self.results().results}

    def logged(self, name: str) -> list[Any]:
        path = self.path / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def ids(self, *arguments: str) -> list[str]:
        lines = self.run("--collect-only", "-q", *arguments).outlines
        return [line for line in lines if "::" in line]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("ISOPROOF_MUST_RUN", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return Project(pytester)


def test_a_check_that_holds_passes_and_is_reported(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run("-v")
    run.assert_outcomes(passed=1)
    assert run.ret == 0
    run.stdout.fnmatch_lines(["scenarios/uts.yaml::uts-name?builtin? PASSED*", "*isolation*", "*uts-name *pass*"])
    results = project.results()
    [result] = results.results
    assert (result.check, result.area, result.path, result.line) == ("uts-name", "uts", "scenarios/uts.yaml", 4)
    assert (result.runtime, result.outcome, result.severity) == ("builtin", "pass", "leak")
    assert result.milliseconds > 0
    assert [runtime.name for runtime in results.runtimes] == ["builtin"]
    assert results.environment["machine"]
    assert "uts-name" in (project.path / "reports" / "isolation.md").read_text().replace("\\", "")


def test_a_failure_explains_itself_without_a_traceback(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-shared", "shared"))
    run = project.run()
    run.assert_outcomes(passed=1, failed=1)
    assert run.ret == 1
    run.stdout.fnmatch_lines(
        [
            "scenarios/uts.yaml:11: uts-shared on builtin: fail (leak)",
            "  claim: The claim of uts-shared",
            "  scenarios/uts.yaml:13: inside.identity.hostname == config.hostname",
            "*inside.identity.hostname = 'outer'",
            "*config.hostname = 'shared'",
            "  on: Linux * uid * cgroup *",
            "  again: pytest 'scenarios/uts.yaml::uts-shared[[]builtin[]]'",
        ],
        consecutive=True,
    )
    run.stdout.no_fnmatch_line("*Traceback*")
    run.stdout.no_fnmatch_line("*harness/plugin.py:*")
    failing = next(result for result in project.results().results if result.outcome == "fail")
    assert failing.failures[0].line == 13
    assert ("inside.identity.hostname", "'outer'") in failing.failures[0].values


@pytest.mark.parametrize(
    ("hostname", "reason"),
    [("silent", "did not run: nothing was reported"), ("broken", "run in outer sandbox: it has ended")],
)
def test_silence_is_an_error_and_no_verdict(project: Project, hostname: str, reason: str) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-other", hostname))
    run = project.run()
    run.assert_outcomes(passed=1, failed=1)
    run.stdout.fnmatch_lines(["*uts-other on builtin: error (leak)", f"  reason: *{reason}"])
    assert project.outcomes()["uts-other"] == "error"


def test_after_a_sandbox_without_an_answer_the_next_launch_has_a_new_one(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-broken", "broken") + check("uts-late", "late"))
    project.run().assert_outcomes(passed=2, failed=1)
    assert project.logged("sandboxes") == ["started", "closed", "started", "closed"]


def test_proofs_are_items_and_pass_when_the_check_goes_red(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-two", sabotage='[skip-ns=uts, "skip-ns=uts + skip-ns=ipc"]'))
    assert project.ids("--prove") == [
        "scenarios/uts.yaml::uts-name[builtin]",
        "scenarios/uts.yaml::uts-name[builtin-no-sethostname]",
        "scenarios/uts.yaml::uts-two[builtin]",
        "scenarios/uts.yaml::uts-two[builtin-skip-ns=uts]",
        "scenarios/uts.yaml::uts-two[builtin-skip-ns=uts + skip-ns=ipc]",
    ]
    run = project.run("--prove")
    run.assert_outcomes(passed=5)
    run.stdout.re_match_lines([r"  uts-name +pass 1/1", r"  uts-two +pass 2/2", r"proven +3 of 3"])
    proofs = {result.check: result.proofs for result in project.results().results}
    assert [(proof.sabotage, proof.outcome) for proof in proofs["uts-name"]] == [("no-sethostname", "proven")]


@pytest.mark.parametrize(
    ("sabotage", "outcome", "reason"),
    [("no-setdomainname", "unproven", "did not go red"), ("join-late", "error", "only by an error")],
)
def test_a_check_that_does_not_go_red_by_a_verdict_is_not_proven(
    project: Project, sabotage: str, outcome: str, reason: str
) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-tame", sabotage=sabotage))
    run = project.run("--prove")
    run.assert_outcomes(passed=3, failed=1)
    run.stdout.fnmatch_lines(
        [
            f"*uts-tame on builtin under {sabotage}: {outcome} (leak)",
            f"  reason: *{reason}*",
            f"  again: pytest --prove 'scenarios/uts.yaml::uts-tame[[]builtin-{sabotage}[]]'",
        ]
    )
    tame = next(result for result in project.results().results if result.check == "uts-tame")
    assert (tame.outcome, tame.proofs[0].outcome) == ("pass", outcome)


def test_equal_containers_share_a_launch_with_all_their_observations(project: Project) -> None:
    another = check("uts-namespace", expect="inside.namespaces.hostname == config.hostname")
    project.write("scenarios/uts.yaml", GOOD + another)
    project.write("scenarios/net.yaml", GOOD + check("net-other", "cell-2"))
    project.run().assert_outcomes(passed=4)
    requests = project.logged("requests")
    assert [set(request["inside"]) for request in requests] == [{"identity", "namespaces"}, {"identity"}]
    assert project.logged("sandboxes") == ["started", "closed"]


def test_a_selection_observes_only_what_it_needs(project: Project) -> None:
    another = check("uts-namespace", expect="inside.namespaces.hostname == config.hostname")
    project.write("scenarios/uts.yaml", GOOD + another)
    project.run("-k", "namespace").assert_outcomes(passed=1, deselected=1)
    [request] = project.logged("requests")
    assert set(request["inside"]) == {"namespaces"}


def test_a_check_that_spoils_its_container_has_its_own(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-spoils", alone="true") + check("uts-more"))
    project.run().assert_outcomes(passed=3)
    assert len(project.logged("requests")) == 2


def test_one_name_for_two_observations_is_no_shared_launch(project: Project) -> None:
    first, second = (
        check(f"uts-{name}", expect="inside.look.hostname == config.hostname", observe=f"{{look: {{probe: {name}}}}}")
        for name in ("identity", "namespaces")
    )
    project.write("scenarios/uts.yaml", GOOD + first + second)
    project.run().assert_outcomes(passed=3)
    assert [request["inside"]["look"]["probe"] for request in project.logged("requests")] == ["identity", "namespaces"]


def test_every_sabotage_has_a_fresh_sandbox(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-two", sabotage="[no-sethostname, skip-ns=uts]"))
    project.run("--prove").assert_outcomes(passed=5)
    sabotages = [request["sabotage"] for request in project.logged("requests")]
    assert sorted(sabotages) == [[], ["no-sethostname"], ["skip-ns=uts"]]
    assert project.logged("sandboxes").count("started") == project.logged("sandboxes").count("closed") == 3


def test_an_interrupt_closes_the_sandbox_and_keeps_the_results(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-interrupted", "interrupted"))
    run = project.run()
    assert run.ret == pytest.ExitCode.INTERRUPTED
    assert project.logged("sandboxes") == ["started", "closed"]
    assert project.outcomes() == {"uts-name": "pass"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("sabotage:", "sabotge:"), "scenarios/uts.yaml:9:5: unknown key 'sabotge'*"),
        (("no-sethostname", "no-such-knob"), "scenarios/uts.yaml:9:15: unknown sabotage 'no-such-knob'*"),
        (("identity.hostname ==", "idntity.hostname =="), "scenarios/uts.yaml:7:9: *idntity*"),
        (("== config", "= config"), "scenarios/uts.yaml:7:9: *does not parse*"),
        (("leak", "lek"), "scenarios/uts.yaml:10:15: *must be one of*"),
        (("title", "\ttitle"), "scenarios/uts.yaml:1:1: not YAML*"),
    ],
)
def test_a_mistake_in_a_scenario_is_one_line_with_its_place(
    project: Project, change: tuple[str, str], line: str
) -> None:
    project.write("scenarios/uts.yaml", GOOD.replace(*change))
    run = project.run()
    assert run.ret == 2
    run.stdout.fnmatch_lines([line])
    run.stdout.no_fnmatch_line("*Traceback*")
    assert not (project.path / "reports").exists()


def test_two_checks_of_one_name_are_refused(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-name"))
    run = project.run()
    assert run.ret == 2
    run.stdout.fnmatch_lines(["scenarios/uts.yaml:11:3: duplicate key 'uts-name', first on line 4"])


def test_a_mistake_in_the_known_findings_is_one_line_too(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    project.write("scenarios/known/builtin.yaml", "fail: {}")
    run = project.run()
    assert run.ret == 2
    run.stdout.fnmatch_lines(["scenarios/known/builtin.yaml:1:1: unknown key 'fail'*"])


def test_only_the_files_of_scenarios_are_collected(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    project.write("scenarios/known/builtin.yaml", "skips: {}")
    project.write("elsewhere/uts.yaml", "not: a scenario")
    assert project.ids() == ["scenarios/uts.yaml::uts-name[builtin]"]


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (["-k", "uts-b"], ["uts-b"]),
        (["-m", "escape"], ["uts-b"]),
        (["-m", "uts and leak"], ["uts-name"]),
        (["-m", "uts and not leak and not escape"], []),
        (["scenarios/uts.yaml::uts-b[builtin]"], ["uts-b"]),
    ],
)
def test_checks_are_selected_by_name_mark_and_id(project: Project, selection: list[str], selected: list[str]) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-b", severity="escape"))
    assert project.ids(*selection) == [f"scenarios/uts.yaml::{name}[builtin]" for name in selected]


def test_runtimes_multiply_the_items(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    assert project.ids("--runtime", "null", "--runtime", "builtin", "--runtime", "null") == [
        "scenarios/uts.yaml::uts-name[null]",
        "scenarios/uts.yaml::uts-name[builtin]",
    ]


def test_an_unknown_runtime_is_one_line(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run("--runtime", "rnuc")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["ERROR: --runtime rnuc: no such runtime; there are *builtin*null*runc*"])
    run.stderr.no_fnmatch_line("*Traceback*")


def test_nothing_passes_on_the_runtime_that_does_nothing(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-host-only", expect="host.identity.hostname == 'outer'"))
    run = project.run("--runtime", "null")
    run.assert_outcomes(failed=2)
    assert project.outcomes() == {"uts-name": "error", "uts-host-only": "error"}


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
    run.stdout.fnmatch_lines(["xfail on builtin, 1 x: it shares*", "skip on builtin, 1 x: it has no such thing"])


def test_a_known_finding_that_holds_again_must_leave_the_list(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-known"))
    project.write("scenarios/known/builtin.yaml", KNOWN)
    project.run().assert_outcomes(passed=1, failed=1)
    [known] = [result for result in project.results().results if result.check == "uts-known"]
    assert known.outcome == "fail"
    assert known.reason == "it holds, but scenarios/known/builtin.yaml says that it fails"


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


def test_quiet_shows_areas_alone(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run("-q")
    run.stdout.re_match_lines([r"uts +1 of 1"])
    run.stdout.no_re_match_line(r"  uts-name .*")


def test_junit_carries_the_result(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    project.run("--junitxml=junit.xml")
    [case] = xml.etree.ElementTree.parse(project.path / "junit.xml").iter("testcase")
    assert case.get("classname") == "scenarios.uts.yaml"
    [value] = [entry.get("value", "") for entry in case.iter("property") if entry.get("name") == "isoproof"]
    assert json.loads(value)["outcome"] == "pass"


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
        ["harness", "harness.errors", "harness.plugin", "harness.runtime", "harness.runtime.errors"]
    )
