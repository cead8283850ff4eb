"""SARIF 2.1.0 of what does not hold, for code scanning: checks are its rules, found where their scenario says so.

As GitHub reads it. A finding is told apart from that of another runtime or container by `primaryLocationLineHash`,
which also finds it again when the scenario has changed around it. Known findings are suppressed, with their reason.
What could not be judged, or was not proven, is no finding, but a notification of the run. All checks that were made are
rules, so that a finding which is no longer there can be closed.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import msgspec

from harness import environment
from harness.report.markdown import escaped
from harness.report.terminal import again
from harness.results import About, Result, Results, one_line
from harness.severities import SEVERITIES, rank
from harness.sources import address

FILE = "isolation.sarif"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LARGEST = 25_000  # results; GitHub refuses a run with more, and shows the first 5000
LONGEST = 1000  # characters of a text; GitHub takes 1024 of some
LONGEST_MESSAGE = 8000
LEVELS = {"escape": "error", "leak": "warning", "dos": "warning", "hygiene": "note"}
# GitHub calls above 9.0 critical, from 7.0 high, from 4.0 medium, and what is below low.
SCORES = {"escape": "9.3", "leak": "6.5", "dos": "5.5", "hygiene": "2.0"}


def render(results: Results) -> str:
    rules = {result.check: result for result in results.results}
    numbers = {check: number for number, check in enumerate(rules)}
    told = sorted(
        (result for result in results.results if result.outcome in ("fail", "xfail")),
        key=lambda result: (result.outcome == "xfail", rank(result.severity)),
    )
    versions = {runtime.name: runtime.version for runtime in results.runtimes}
    run = {
        "tool": {
            "driver": {
                "name": "isoproof",
                "version": results.environment["versions"].get("isoproof", "checkout"),
                "rules": [_rule(result, _about(result, results)) for result in rules.values()],
            }
        },
        "automationDetails": {"id": "isoproof/"},
        "invocations": [_invocation(results, numbers, max(len(told) - LARGEST, 0))],
        "columnKind": "unicodeCodePoints",
        "results": [_result(result, results, numbers, versions) for result in told[:LARGEST]],
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def _about(result: Result, results: Results) -> About:
    area = results.catalogue.get(result.area)
    return area.checks[result.check] if area else About("", [], {}, [], [])


def _rule(result: Result, about: About) -> dict[str, Any]:
    """A check, with what it is about as its help."""
    rule = {
        "id": result.check,
        "shortDescription": {"text": _text(result.claim)},
        "fullDescription": {"text": _text(about.why or result.claim)},
        "help": {
            "text": "\n".join(_help(result, about, _text, lambda text: f"'{_text(text)}'")),
            "markdown": "\n\n".join(_help(result, about, escaped, _code)),
        },
        "defaultConfiguration": {"level": LEVELS[result.severity]},
        "properties": {
            "tags": ["security", one_line(result.area), result.severity],
            "precision": "very-high",
            "security-severity": SCORES[result.severity],
        },
    }
    if found := next(filter(None, map(address, about.see)), ""):
        rule["helpUri"] = found
    return rule


def _help(result: Result, about: About, plain: Callable[[str], str], code: Callable[[str], str]) -> Iterator[str]:
    """What a check is about, in paragraphs, with plain text and code as they are written there."""
    yield f"{plain(result.claim)}."
    yield f"Where it does not hold, a container {SEVERITIES[result.severity]} ({result.severity})."
    if about.why:
        yield plain(about.why)
    if about.expect:
        yield f"It holds if all of this is so: {', '.join(map(code, about.expect))}."
    for knob, purpose in about.sabotages.items():
        yield f"It must notice {code(knob)}: {plain(purpose)}"
    if about.see:
        yield f"Read more: {', '.join(map(plain, about.see))}."
    yield f"More of it: {code(f'isoproof explain {result.check}')}"


def _code(text: str) -> str:
    flat = _text(text).replace("`", "'")
    return f"`{flat}`"


def _result(result: Result, results: Results, numbers: dict[str, int], versions: dict[str, str]) -> dict[str, Any]:
    fingerprint = hashlib.sha256(f"{result.label}\0{result.runtime}".encode()).hexdigest()[:16]
    told: dict[str, Any] = {
        "ruleId": result.check,
        "ruleIndex": numbers[result.check],
        "level": LEVELS[result.severity],
        "message": {"text": _message(result, results, versions[result.runtime])},
        "locations": [_location(result.path, result.line)],
        "partialFingerprints": {"primaryLocationLineHash": f"{fingerprint}:1"},
        "properties": {"runtime": one_line(result.runtime), "container": one_line(result.shape or "its own")},
    }
    if result.failures:
        told["relatedLocations"] = [
            {"id": number, **_location(broken.path, broken.line), "message": {"text": _text(broken.expression)}}
            for number, broken in enumerate(result.failures[:100], 1)
        ]
    if result.outcome == "xfail":
        justification = f"known of {result.runtime}: {result.reason}"
        told["suppressions"] = [{"kind": "external", "status": "accepted", "justification": _text(justification)}]
    return told


def _message(result: Result, results: Results, version: str) -> str:
    """What does not hold where, its first line by itself, and how to see that again."""
    container = f" in the container {result.shape}" if result.shape else ""
    lines = [f"On {result.runtime} {version}{container} it does not hold that: {result.claim}"]
    if not result.failures:  # it holds, but is listed as a known finding
        lines = [f"{result.label} on {result.runtime} {version}: {result.claim}"]
    lines += [result.reason] if result.reason else []
    for broken in result.failures:
        lines.append(f"{broken.expression}, but:")
        lines += [f"{part} = {value}" for part, value in broken.values]
    text = "\n".join(map(_text, lines))[:LONGEST_MESSAGE]
    # The only markup of a message are links, [text](number): what was said inside makes none.
    return f"{text}\nAgain: {_text(again(result, results.environment))}".replace("](", "] (")


def _location(path: str, line: int) -> dict[str, Any]:
    if PurePath(path).is_absolute():
        artifact = {"uri": f"file://{quote(path)}"}
    else:
        artifact = {"uri": quote(path), "uriBaseId": "%SRCROOT%"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": line}}}


def _invocation(results: Results, numbers: dict[str, int], left_out: int) -> dict[str, Any]:
    """The run: when, where, and what could not be judged in it."""
    errors = [result for result in results.results if result.outcome == "error"]
    started = datetime.fromisoformat(results.started).astimezone(UTC)
    ended = started + timedelta(milliseconds=results.milliseconds)
    notifications = [_notification("error", f"could not be judged: {each.reason}", each, numbers) for each in errors]
    notifications += [
        _notification("warning", f"is not proven by {proof.sabotage}: {proof.reason}", result, numbers)
        for result in results.results
        for proof in result.missing_proofs()
        if proof.outcome != "skip"
    ]
    notifications += [
        {"level": "warning", "message": {"text": _text(f"{runtime.name} was not tested: {runtime.missing}")}}
        for runtime in results.runtimes
        if runtime.missing
    ]
    if left_out:
        text = f"{left_out} findings are left out here, those that weigh least; isolation.json has all of them"
        notifications.append({"level": "warning", "message": {"text": text}})
    return {
        "executionSuccessful": not errors,
        "startTimeUtc": _utc(started),
        "endTimeUtc": _utc(ended),
        "toolExecutionNotifications": notifications,
        "properties": {"environment": environment.one_line(results.environment)},
    }


def _notification(level: str, what: str, result: Result, numbers: dict[str, int]) -> dict[str, Any]:
    return {
        "level": level,
        "message": {"text": _text(f"{result.label} on {result.runtime} {what}")},
        "associatedRule": {"id": result.check, "index": numbers[result.check]},
        "locations": [_location(result.path, result.line)],
    }


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(text: str) -> str:
    """The text in one line, not too long."""
    flat = one_line(text)
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 1]}…"
