"""SARIF for code scanning: valid by the published schema, within the limits of GitHub, and hostile text is text."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace

from harness.report import sarif
from harness.results import LONGEST_TEXT, About, Area, Proof, Result, Results, Runtime
from tests.unit.test_results import HOSTILE, a_failure, a_result, some_results

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas" / "sarif-2.1.0-rtm.5.json").read_text())
ABOUT = About(
    why="Names of its own.",
    expect=["inside.a == `1`"],
    sabotages={"skip-ns=uts": "It is left out."},
    see=["runtime-spec: linux", "uts_namespaces(7)", "CVE-2024-1"],
    also=[],
)


def rendered(results: Results) -> Any:
    """The only run of the document, which is valid."""
    document = json.loads(sarif.render(results))
    jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(document)
    assert document["version"] == "2.1.0"
    [run] = document["runs"]
    return run


def told(*results: Result) -> Any:
    return rendered(some_results(*results))["results"]


def test_what_does_not_hold_is_a_result_at_its_line_of_the_scenario() -> None:
    [finding] = told(a_result(), a_result("uts-b", "fail", line=21, failures=[a_failure()], shape="userns"))
    assert finding["ruleId"] == "uts-b"
    assert finding["level"] == "warning"
    [location] = finding["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "scenarios/uts.yaml"
    assert location["physicalLocation"]["region"] == {"startLine": 21}
    [related] = finding["relatedLocations"]
    assert related["physicalLocation"]["region"] == {"startLine": 9}
    assert finding["message"]["text"].splitlines() == [
        "On builtin 0.1.0 in the container userns it does not hold that: The hostname is its own",
        "inside.identity.hostname != host.identity.hostname, but:",
        "inside.identity.hostname = 'host'",
        "host.identity.hostname = 'host'",
        "Again: pytest 'scenarios/uts.yaml::uts-b[builtin-userns]'",
    ]
    assert "suppressions" not in finding


def test_a_known_finding_that_no_longer_occurs_is_not_said_not_to_hold() -> None:
    [finding] = told(a_result(outcome="fail", reason="it holds, but runc.yaml says that it fails"))
    assert finding["message"]["text"].splitlines()[:2] == [
        "uts-a on builtin 0.1.0: The hostname is its own",
        "it holds, but runc.yaml says that it fails",
    ]


def test_what_is_known_is_suppressed_and_comes_last() -> None:
    known = a_result("uts-a", "xfail", severity="escape", reason="issue 12", runtime="runc")
    first, last = told(known, a_result("uts-b", "fail", severity="hygiene"))
    assert [first["ruleId"], last["ruleId"]] == ["uts-b", "uts-a"]
    [suppression] = last["suppressions"]
    assert suppression == {"kind": "external", "status": "accepted", "justification": "known of runc: issue 12"}


def test_a_finding_is_known_again_when_lines_move_and_told_from_that_of_others() -> None:
    results = [
        a_result(outcome="fail"),
        a_result(outcome="fail", line=90),
        a_result(outcome="fail", runtime="runc"),
        a_result(outcome="fail", shape="userns"),
    ]
    same, moved, other_runtime, other_shape = (
        told(result)[0]["partialFingerprints"]["primaryLocationLineHash"] for result in results
    )
    assert same == moved
    assert len({same, other_runtime, other_shape}) == 3


def test_every_check_is_a_rule_with_its_help() -> None:
    area = Area("Names", "", {"uts-a": ABOUT, "uts-b": replace(ABOUT, see=[])})
    run = rendered(replace(some_results(a_result(), a_result("uts-b", "fail")), catalogue={"uts": area}))
    one, other = run["tool"]["driver"]["rules"]
    assert [one["id"], other["id"]] == ["uts-a", "uts-b"]
    assert run["results"][0]["ruleIndex"] == 1
    assert one["shortDescription"]["text"] == "The hostname is its own"
    assert one["fullDescription"]["text"] == "Names of its own."
    assert one["helpUri"] == "https://man7.org/linux/man-pages/man7/uts_namespaces.7.html"
    assert "helpUri" not in other
    assert "It must notice 'skip-ns=uts': It is left out." in one["help"]["text"]
    assert "It holds if all of this is so: `inside.a == '1'`." in one["help"]["markdown"]
    assert one["properties"]["tags"] == ["security", "uts", "leak"]


@pytest.mark.parametrize(
    ("severity", "level", "lowest", "highest"),
    [
        ("escape", "error", 9.0, 10),
        ("leak", "warning", 4, 6.9),
        ("dos", "warning", 4, 6.9),
        ("hygiene", "note", 0, 3.9),
    ],
)
def test_severities_have_their_levels(severity: str, level: str, lowest: float, highest: float) -> None:
    run = rendered(some_results(a_result(outcome="fail", severity=severity)))
    [rule] = run["tool"]["driver"]["rules"]
    assert rule["defaultConfiguration"]["level"] == run["results"][0]["level"] == level
    assert lowest < float(rule["properties"]["security-severity"]) <= highest


def test_what_was_not_judged_or_proven_is_a_notification() -> None:
    results = some_results(
        a_result("uts-b", "error", reason="late"),
        a_result("uts-c", proofs=[Proof("lo-down", "unproven", "stays green"), Proof("b", "skip", "not here")]),
    )
    results.runtimes.append(Runtime("lxc", "", "lxc is not installed"))
    run = rendered(results)
    assert run["results"] == []
    [invocation] = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert [each["message"]["text"] for each in invocation["toolExecutionNotifications"]] == [
        "uts-b on builtin could not be judged: late",
        "uts-c on builtin is not proven by lo-down: stays green",
        "lxc was not tested: lxc is not installed",
    ]
    assert invocation["startTimeUtc"] == "2026-11-23T20:00:00.000Z"
    assert rendered(some_results(a_result()))["invocations"][0]["executionSuccessful"] is True


def test_no_more_results_than_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sarif, "LARGEST", 3)
    run = rendered(some_results(*(a_result(f"uts-{number}", "xfail") for number in range(5)), a_result("z", "fail")))
    assert [result["ruleId"] for result in run["results"]] == ["z", "uts-0", "uts-1"]
    [notification] = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"].startswith("3 findings are left out here")


@pytest.mark.parametrize("hostile", [*HOSTILE, "\x00\x1b", "[x](1)", "é" * LONGEST_TEXT])
def test_hostile_text_stays_text(hostile: str) -> None:
    about = About(hostile, [hostile], {hostile: hostile}, [hostile], [hostile])
    results = some_results(
        a_result(hostile, "fail", reason=hostile, failures=[a_failure(hostile)] * 300, claim=hostile, shape=hostile),
        a_result(hostile, "error", reason=hostile, runtime="runc", claim=hostile),
    )
    run = rendered(replace(results, catalogue={"uts": Area(hostile, "", {hostile: about})}))
    [finding] = run["results"]
    assert "](" not in finding["message"]["text"]
    assert len(finding["message"]["text"]) < 10_000
    assert len(finding["relatedLocations"]) <= 100
    [rule] = run["tool"]["driver"]["rules"]
    assert len(rule["fullDescription"]["text"]) <= 1024
    assert "helpUri" not in rule


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a b/ü:%.yaml", "a%20b/%C3%BC%3A%25.yaml"),
        ("/srv/a b.yaml", "file:///srv/a%20b.yaml"),
        ("../a.yaml", "../a.yaml"),
    ],
)
def test_paths_are_addresses(path: str, uri: str) -> None:
    [finding] = told(a_result(outcome="fail", path=path))
    assert finding["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri
