"""JUnit XML of stored results, with the facts of each check as properties, as pytest's own --junitxml has them.

Checks and their proofs are test cases under the names that pytest gives them, in a test suite for each runtime, whose
properties are those of the machine. It is valid by junit-10.xsd of the xunit plugin for Jenkins, pytest's `xunit2`, but
for the properties of a test case, which many read and no schema knows.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

from harness import environment
from harness.report.terminal import failure, item
from harness.results import Proof, Result, Results, Runtime, printable

FILE = ""  # a run has pytest's own if it is asked for
LONGEST = 1000  # characters of a property
Properties = list[tuple[str, str]]


def render(results: Results) -> str:
    suites = ElementTree.Element("testsuites", name="isoproof")
    for runtime in results.runtimes:
        suites.append(_suite(results, runtime))
    text = ElementTree.tostring(suites, encoding="unicode", xml_declaration=False)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def properties(result: Result) -> Properties:
    """The facts about a check, or about a proof of it that was run alone."""
    facts = {
        "claim": result.claim,
        "severity": result.severity,
        "area": result.area,
        "runtime": result.runtime,
        "shape": result.shape,
        "outcome": result.outcome or "",
        "reason": result.reason,
        "proof": result.standing() or "",
    }
    knobs = [(f"proof by {proof.sabotage}", f"{proof.outcome}: {proof.reason}".rstrip(": ")) for proof in result.proofs]
    return [(_short(name), _short(fact)) for name, fact in [*facts.items(), *knobs] if fact]


def machine(facts: dict[str, Any], prefix: str = "") -> Properties:
    """The facts about a machine, those in groups with the name of their group."""
    found: Properties = [] if prefix else [("environment", _short(environment.one_line(facts)))]
    for name, fact in facts.items():
        if isinstance(fact, dict):
            found += machine(fact, f"{prefix}{name}.")
        else:
            text = " ".join(map(str, fact)) if isinstance(fact, list) else fact
            found.append((_short(f"{prefix}{name}"), _short(text)))
    return found


def _suite(results: Results, runtime: Runtime) -> ElementTree.Element:
    """All that was found out of a runtime."""
    suite = ElementTree.Element("testsuite", name=_short(runtime.name))
    about = {"runtime": runtime.name, "version": runtime.version, "missing": runtime.missing}
    facts = [(name, _short(fact)) for name, fact in about.items() if fact]
    suite.append(_properties([*facts, *machine(results.environment)]))
    suite[-1].tail = "\n"
    for result in results.results:
        if result.runtime == runtime.name:
            suite.extend(_cases(result, results.environment))
    counts = {
        "tests": "testcase",
        "failures": "testcase/failure",
        "errors": "testcase/error",
        "skipped": "testcase/skipped",
    }
    for name, path in counts.items():
        suite.set(name, str(len(suite.findall(path))))
    seconds = sum(float(case.get("time", 0)) for case in suite.iter("testcase"))
    suite.set("time", f"{seconds:.3f}")
    suite.set("timestamp", results.started)
    return suite


def _cases(result: Result, facts: dict[str, Any]) -> Iterator[ElementTree.Element]:
    """The check, if it was made, and each of its proofs."""
    if result.outcome:
        case = _case(result, "", result.milliseconds, properties(result))
        outcome = {"fail": "failure", "error": "error", "skip": "skipped", "xfail": "skipped"}.get(result.outcome)
        if outcome:
            _told(case, outcome, result.outcome, result.reason or result.claim)
        if outcome in ("failure", "error"):
            case[-1].text = failure(result, facts)
        if result.answers:
            answers = "\n".join(f"{_short(name)} = {_short(value)}" for name, value in result.answers)
            ElementTree.SubElement(case, "system-out").text = printable(answers)
        yield case
    for proof in result.proofs:
        yield _proof(result, proof)


def _proof(result: Result, proof: Proof) -> ElementTree.Element:
    about = [("claim", _short(result.claim)), ("severity", result.severity), ("sabotage", _short(proof.sabotage))]
    case = _case(result, proof.sabotage, proof.milliseconds, about)
    if proof.outcome != "proven":
        outcome = {"unproven": "failure", "error": "error", "skip": "skipped"}[proof.outcome]
        _told(case, outcome, proof.outcome, proof.reason)
    return case


def _case(result: Result, knob: str, milliseconds: float, about: Properties) -> ElementTree.Element:
    path = result.path.replace("/", ".")
    case = ElementTree.Element(
        "testcase", classname=_short(path), name=_short(item(result, knob)), time=f"{milliseconds / 1000:.3f}"
    )
    case.append(_properties(about))
    case.tail = "\n"  # indented altogether it would be half as long again
    return case


def _told(case: ElementTree.Element, outcome: str, kind: str, message: str) -> None:
    ElementTree.SubElement(case, outcome, type=kind, message=_short(message))


def _properties(facts: Properties) -> ElementTree.Element:
    element = ElementTree.Element("properties")
    for name, value in facts:
        ElementTree.SubElement(element, "property", name=name, value=value)
    return element


def _short(fact: object) -> str:
    """What XML can hold of a text, which has no control characters, and not too much of it."""
    text = printable(str(fact))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
