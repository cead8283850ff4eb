"""JUnit XML made of stored results: valid by Jenkins' schema, and hostile text is text."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
import xmlschema

from harness.report import junit
from harness.results import LONGEST_TEXT, Proof, Result, Results, Runtime
from tests.unit.test_results import HOSTILE, a_failure, a_result, some_results

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[1] / "schemas" / "junit-10.xsd")


def rendered(results: Results) -> Element:
    """The document, which is valid; the properties of test cases by themselves, for it does not know them there."""
    text = junit.render(results)
    document = ElementTree.fromstring(text.encode())
    bare = ElementTree.fromstring(text.encode())
    for case in bare.iter("testcase"):
        [facts] = case.findall("properties")
        SCHEMA.elements["properties"].validate(facts)
        case.remove(facts)
    SCHEMA.validate(bare)
    return document


def cases(*results: Result) -> list[Element]:
    return list(rendered(some_results(*results)).iter("testcase"))


def facts(element: Element) -> dict[str | None, str | None]:
    return {each.get("name"): each.get("value") for each in element.findall("properties/property")}


def test_a_runtime_is_a_suite_with_its_machine() -> None:
    results = some_results(a_result(milliseconds=1500), a_result("b", "fail"), a_result("c", "error", runtime="runc"))
    results.runtimes.append(Runtime("lxc", "", "lxc is not installed"))
    builtin, runc, lxc = rendered(results)
    assert [suite.get("name") for suite in (builtin, runc, lxc)] == ["builtin", "runc", "lxc"]
    counted = [
        [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] for suite in (builtin, runc, lxc)
    ]
    assert counted == [["2", "1", "0", "0"], ["1", "0", "1", "0"], ["0", "0", "0", "0"]]
    assert builtin.get("time") == "1.500"
    assert facts(runc)["version"] == "1.1.5"
    assert facts(runc)["release"] == "6.18.0"
    assert facts(runc)["cgroup.memory"] == "1"
    assert facts(lxc)["missing"] == "lxc is not installed"


def test_a_check_is_a_case_with_its_facts() -> None:
    proof = Proof("skip-ns=uts", "proven", milliseconds=250)
    check, proven = cases(a_result(answers=[("inside.pid", "1")], shape="userns", proofs=[proof]))
    assert (check.get("classname"), check.get("name")) == ("scenarios.uts.yaml", "uts-a[builtin-userns]")
    assert facts(check) == {
        "claim": "The hostname is its own",
        "severity": "leak",
        "area": "uts",
        "runtime": "builtin",
        "shape": "userns",
        "outcome": "pass",
        "proof": "proven",
        "proof by skip-ns=uts": "proven",
    }
    assert check.findtext("system-out") == "inside.pid = 1"
    assert (proven.get("name"), proven.get("time")) == ("uts-a[builtin-userns-skip-ns=uts]", "0.250")


@pytest.mark.parametrize(
    ("outcome", "tag"), [("fail", "failure"), ("error", "error"), ("skip", "skipped"), ("xfail", "skipped")]
)
def test_what_did_not_pass_says_why(outcome: Any, tag: str) -> None:
    [case] = cases(a_result(outcome=outcome, reason="issue 12", failures=[a_failure()]))
    [told] = case.findall(tag)
    assert (told.get("type"), told.get("message")) == (outcome, "issue 12")
    assert ("inside.identity.hostname = 'host'" in (told.text or "")) == (outcome in ("fail", "error"))


@pytest.mark.parametrize(("outcome", "tag"), [("unproven", "failure"), ("error", "error"), ("skip", "skipped")])
def test_a_proof_that_is_missing_says_why(outcome: Any, tag: str) -> None:
    _, proof = cases(a_result(proofs=[Proof("lo-down", outcome, "stays green")]))
    [told] = proof.findall(tag)
    assert told.get("message") == "stays green"


def test_where_only_proofs_were_made_there_is_no_check() -> None:
    [proof] = cases(a_result(outcome=None, proofs=[Proof("lo-down", "proven")]))
    assert proof.get("name") == "uts-a[builtin-lo-down]"


@pytest.mark.parametrize("hostile", [*HOSTILE, "]]>", "a\x00\x08\x1b\ud800\ufffe\uffff\x85b", "<!ENTITY a 'b'>&a;"])
def test_hostile_text_stays_text(hostile: str) -> None:
    result = a_result(hostile, "fail", reason=hostile, failures=[a_failure(hostile)], answers=[(hostile, hostile)])
    [case, _] = cases(result, a_result("b", proofs=[Proof(hostile, "error", hostile)]))[:2]
    assert [part.tag for part in case] == ["properties", "failure", "system-out"]
    [other] = rendered(some_results(a_result(outcome="fail", reason="x" * LONGEST_TEXT))).iter("failure")
    assert len(other.get("message", "")) <= 1000
