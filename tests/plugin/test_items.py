"""Scenario files as items: what is collected, which launches are shared, what a mistake looks like."""

import pytest

from harness import backends
from tests.plugin.project import GOOD, Project, check

pytest_plugins = ["pytester"]


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
    run = project.run("--prove", "-v")
    run.assert_outcomes(passed=5)
    run.stdout.re_match_lines([r"  uts-name +pass 1/1", r"  uts-two +pass 2/2", r".* proven$", r"builtin .* 2/2$"])
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
            f"  again: pytest 'scenarios/uts.yaml::uts-tame[[]builtin-{sabotage}[]]' --prove",
        ]
    )
    tame = next(result for result in project.results().results if result.check == "uts-tame")
    assert (tame.outcome, tame.proofs[0].outcome) == ("pass", outcome)


SHAPED = GOOD.replace("checks:", "shapes: [small, small + odd]\nchecks:")


def write_shapes(project: Project) -> None:
    project.write("scenarios/shapes/small.yaml", "title: Small\ncontainer: {oom_score_adj: 500}")
    project.write("scenarios/shapes/odd.yaml", "title: Odd\ncontainer: {hostname: odd, oci: {hostname: odder}}")


def test_a_check_is_an_item_in_each_of_its_shapes_and_proven_in_its_own(project: Project) -> None:
    write_shapes(project)
    project.write("scenarios/uts.yaml", SHAPED)
    assert project.ids("--prove") == [
        "scenarios/uts.yaml::uts-name[builtin]",
        "scenarios/uts.yaml::uts-name[builtin-no-sethostname]",
        "scenarios/uts.yaml::uts-name[builtin-small]",
        "scenarios/uts.yaml::uts-name[builtin-small + odd]",
    ]
    assert len(project.ids("-k", "odd")) == 1
    run = project.run("--prove", "-v")
    run.assert_outcomes(passed=4)
    run.stdout.re_match_lines([r"  uts-name +pass 1/1", r"    \[small\] +pass$", r"    \[small \+ odd\] +pass$"])
    assert {(result.check, result.shape, result.outcome) for result in project.results().results} == {
        ("uts-name", "", "pass"),
        ("uts-name", "small", "pass"),
        ("uts-name", "small + odd", "pass"),
    }
    good = [request["config"] for request in project.logged("requests") if not request["sabotage"]]
    # The shapes are below: the hostname that the check asks for holds over theirs, so two of the three are the same.
    assert [config["hostname"] for config in good] == ["cell-1", "cell-1"]
    assert [config["process"].get("oomScoreAdj") for config in good] == [None, 500]


def test_a_failure_in_a_shape_says_in_which(project: Project) -> None:
    write_shapes(project)
    project.write("scenarios/uts.yaml", SHAPED.replace("cell-1", "shared"))
    run = project.run("-k", "odd")
    run.assert_outcomes(failed=1, deselected=2)
    run.stdout.fnmatch_lines(
        [
            "scenarios/uts.yaml:5: uts-name[[]small + odd[]] on builtin: fail (leak)",
            "  again: pytest 'scenarios/uts.yaml::uts-name[[]builtin-small + odd[]]'",
        ]
    )


def test_what_a_shape_lacks_is_a_skip_there_alone(project: Project) -> None:
    project.write(
        "scenarios/shapes/small.yaml",
        "title: Small\ncontainer: {pids: 7}\nrequires: {'environment.kernel >= [99, 0]': a kernel of the future}",
    )
    project.write("scenarios/uts.yaml", SHAPED.replace(", small + odd", ""))
    project.run().assert_outcomes(passed=1, skipped=1)
    assert [result.reason for result in project.results().results] == ["", "a kernel of the future"]


def test_slow_checks_are_marked(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-slow", slow="true"))
    assert project.ids("-m", "slow") == ["scenarios/uts.yaml::uts-slow[builtin]"]
    assert project.ids("-m", "leak and not slow") == ["scenarios/uts.yaml::uts-name[builtin]"]


def test_what_a_good_container_has_answered_is_kept(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-shared", "shared"))
    project.run()
    good, bad = project.results().results
    assert good.answers == [("inside.identity.hostname", "'cell-1'")]
    assert bad.answers == []


def test_equal_containers_share_a_launch_with_all_their_observations(project: Project) -> None:
    another = check("uts-namespace", expect="inside.namespaces.hostname == config.hostname")
    project.write("scenarios/uts.yaml", GOOD + another)
    project.write("scenarios/net.yaml", GOOD.replace("uts-name", "net-name") + check("net-other", "cell-2"))
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


def test_a_refusal_counts_only_if_the_container_beside_it_starts(project: Project) -> None:
    refusal = check("uts-refused", "refused", expect="start.refused", refuses="true")
    project.write("scenarios/uts.yaml", GOOD + refusal)
    project.run("--prove").assert_outcomes(passed=4)
    good = [request["config"]["hostname"] for request in project.logged("requests") if not request["sabotage"]]
    assert sorted(good) == ["cell-1", "refused"]
    project.write("scenarios/uts.yaml", GOOD.replace("cell-1", "silent") + refusal)
    project.run().assert_outcomes(failed=2)
    assert project.outcomes()["uts-refused"] == "error"


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


def test_two_files_of_one_name_are_refused(project: Project) -> None:
    """In a matrix the verdicts of one would stand for those of the other."""
    project.write("a/scenarios/uts.yaml", GOOD)
    project.write("b/scenarios/uts.yaml", GOOD + check("uts-wrong", "shared"))
    run = project.run()
    assert run.ret == 2
    run.stdout.fnmatch_lines(["b/scenarios/uts.yaml:1:1: a/scenarios/uts.yaml has the area 'uts', too; rename one*"])


def test_two_checks_of_one_name_in_two_files_are_refused(project: Project) -> None:
    """What is known of a runtime names a check alone, and so do the rules of SARIF."""
    project.write("scenarios/one.yaml", GOOD)
    project.write("scenarios/two.yaml", GOOD)
    run = project.run()
    assert run.ret == 2
    run.stdout.fnmatch_lines(["scenarios/two.yaml:4:1: scenarios/one.yaml has the check 'uts-name', too; rename one*"])


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


def test_all_runtimes_are_those_that_are_here(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "here", lambda: ["builtin", "runc:as-shipped"])
    project.write("scenarios/uts.yaml", GOOD)
    assert project.ids("--runtime", "all", "--runtime", "null") == [
        "scenarios/uts.yaml::uts-name[builtin]",
        "scenarios/uts.yaml::uts-name[runc:as-shipped]",
        "scenarios/uts.yaml::uts-name[null]",
    ]


def test_a_runtime_is_told_with_its_options(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-shared", "shared"))
    run = project.run("--runtime", "builtin:as-shipped")
    run.assert_outcomes(passed=1, failed=1)
    again = "pytest 'scenarios/uts.yaml::uts-shared[[]builtin:as-shipped]' --runtime builtin:as-shipped"
    run.stdout.fnmatch_lines([f"  again: {again}"])
    assert project.ids("--runtime", "builtin:as-shipped", "scenarios/uts.yaml::uts-shared[builtin:as-shipped]")


def test_an_unknown_runtime_is_one_line(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run("--runtime", "rnuc")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["ERROR: --runtime rnuc: unknown runtime *; known are *builtin*null*runc*"])
    run.stderr.no_fnmatch_line("*Traceback*")


def test_nothing_passes_on_the_runtime_that_does_nothing(project: Project) -> None:
    project.write("scenarios/uts.yaml", GOOD + check("uts-host-only", expect="host.identity.hostname == 'outer'"))
    run = project.run("--runtime", "null")
    run.assert_outcomes(failed=2)
    assert project.outcomes() == {"uts-name": "error", "uts-host-only": "error"}
