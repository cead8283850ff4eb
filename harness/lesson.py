"""A check, told to someone who is learning what a container is: short, exact, and with what to read next."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from textwrap import wrap

from harness import sabotage
from harness.canaries import kinds
from harness.canaries.base import Canary
from harness.places import PROBES
from harness.results import Results, printable
from harness.scenario import Check, Scenario
from harness.severities import SEVERITIES
from harness.sources import CVE, PAGE

LABEL = 10
NARROWEST = 40
MOST_ANSWERS = 12


def lines(scenario: Scenario, check: Check, results: Results | None, width: int) -> Iterator[str]:
    """All that is said about a check, a label before each part; `results` are those of the last run, if any."""
    yield f"{check.name}: {check.claim}"
    yield f"{check.path}:{check.line}: {scenario.title}"
    parts = {
        "area": [scenario.why] if scenario.why else [],
        "why": [check.why] if check.why else [],
        "failure": [f"{check.severity}: {SEVERITIES[check.severity]}"],
        "probed": [*_probed(check), *_baits(scenario, check)],
        "good": [expectation.text for expectation in check.expect],
        "seen": list(_seen(check, results)),
        "proven": [f"must go red under {knob}: {sabotage.purpose(knob)}" for knob in check.sabotages],
        "shapes": [f"checked again as {', '.join(check.shapes)}"] if check.shapes else [],
        "needs": [f"{text}, else: {reason}" for text, reason in check.requirements.items()],
        "provable": [f"where {text}, else: {reason}" for text, reason in check.provable.items()],
        "container": [json.dumps(check.container.as_dict(), ensure_ascii=False)],
        "CVEs": _joined(_cves(check)),
        "also in": _joined(check.also),
        "read next": _joined(_pages(check)),
        "sources": _joined(entry for entry in check.see if entry not in (*_pages(check), *_cves(check))),
    }
    for label, texts in parts.items():
        if texts:
            yield ""
        for index, text in enumerate(texts):
            yield from _labelled("" if index else label, text, width)
    yield ""
    # Not broken into lines: it is to be copied.
    yield f"{'run':<{LABEL}}isoproof verify {quote(f'{check.path}::{check.name}[builtin]')}"
    yield f"{'prove':<{LABEL}}isoproof verify {quote(check.path)} -k {check.name} --prove"


def first_line(module: Path) -> str:
    """The first line of a module's docstring, without importing it."""
    return (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n")[0]


def _probed(check: Check) -> Iterator[str]:
    if any("inside.init." in expectation.text for expectation in check.expect):
        yield f"inside: init, by probes/init.py: {first_line(PROBES / 'init.py')}"
    sides = (("inside", check.inside), ("on the host", check.host), ("on the host afterwards", check.host_after))
    for where, observations in sides:
        for name, entry in observations.items():
            during = f", during {entry['during']}" if entry.get("during") else ""
            file = f"{entry['probe']}.py"
            yield f"{where}{during}: {name}, by probes/{file}: {first_line(PROBES / file)}"


def _baits(scenario: Scenario, check: Check) -> Iterator[str]:
    """The canaries that a check is about: those that it names, those that not all of its area have, and those that
    change the launcher, which need no name to be met.
    """
    observations = [check.inside, check.host, check.host_after]
    texts = [each.text for each in check.expect]
    written = json.dumps([observations, texts, check.sabotages, check.container.as_dict()])
    acting = {entry.get("meanwhile") for entry in check.inside.values()}
    for name, canary in check.canaries.items():
        kind = kinds()[canary["kind"]]
        own = len(scenario.checks) == 1 or any(name not in other.canaries for other in scenario.checks)
        if f"canary.{name}." in written or name in acting or own or kind.change_launcher is not Canary.change_launcher:
            described = (kind.__doc__ or "").partition("\n")[0]
            yield f"bait on the host: {name}, of the kind {canary['kind']}: {described}"


def _seen(check: Check, results: Results | None) -> Iterator[str]:
    """What a container answered in the last run in which the check passed as it should be."""
    if results is None:
        return
    for result in results.results:
        if (result.path, result.label) == (check.path, check.name) and result.answers:
            yield f"on {result.runtime}, {results.started}:"
            for name, value in result.answers[:MOST_ANSWERS]:
                yield f"{name} = {value}"
            return


def _cves(check: Check) -> list[str]:
    return [entry for entry in check.see if CVE.fullmatch(entry)]


def _pages(check: Check) -> list[str]:
    """The manual pages among the sources."""
    return [entry for entry in check.see if PAGE.fullmatch(entry)]


def _joined(texts: Iterator[str] | list[str]) -> list[str]:
    text = ", ".join(texts)
    return [text] if text else []


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    """A text beside its label, in lines that are no longer than they may be, but for words that are."""
    flat = printable(" ".join(text.split()))
    space = max(width - LABEL, NARROWEST)
    for index, line in enumerate(wrap(flat, space, break_long_words=False, break_on_hyphens=False)):
        yield f"{'' if index else label:<{LABEL}}{line}"
