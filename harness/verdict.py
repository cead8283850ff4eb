"""What the observations of one run say about a check: pass, fail, error or skip. Pure.

A verdict takes two steps, and the first cannot be left out: the container has shown that it ran (its first
process reported, with the nonce of this run), and every observation that an expectation names was made.
Otherwise the outcome is error, whatever else was seen: silence proves nothing. Only then is it asked whether
the expectations hold.

An answer is what the host role answers to one request (harness/host.py).
"""

import contextlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from harness.explanation import explain
from harness.expression import EvaluationError, evaluate, names
from harness.observation import escaped
from harness.results import Failure
from harness.scenario import Check, Expectation
from harness.values import shown

Answer = Mapping[str, Any]

OBSERVED = ("inside", "host", "host_after")


class Verdict(NamedTuple):
    """The outcome of a check, the expectations that do not hold, and the reason of a skip or an error."""

    outcome: Literal["pass", "fail", "error", "skip"]
    failures: list[Failure]
    reason: str


class Redness(NamedTuple):
    """Whether a check went red under its sabotage; `reason` says why that is no proof."""

    outcome: Literal["proven", "unproven", "error"]
    reason: str


def unmet(check: Check, environment: Mapping[str, Any]) -> Verdict | None:
    """Why a check cannot be made on this machine (skip), or None; to be asked before the container is started."""
    return _unmet(check.requirements, "requires", {"environment": environment})


def unprovable(check: Check, environment: Mapping[str, Any], knob: str = "") -> Verdict | None:
    """Why a sabotage, or without a knob any, cannot turn a check red on this machine (skip), or None."""
    return _unmet(check.provable, "provable", {"environment": environment, "knob": knob})


def _unmet(requirements: Mapping[str, str], key: str, scope: Mapping[str, Any]) -> Verdict | None:
    for requirement, reason in requirements.items():
        try:
            if not evaluate(requirement, scope):
                return Verdict("skip", [], reason)
        except EvaluationError as error:
            return Verdict("error", [], f"{key}: {error}")
    return None


def judge(check: Check, answer: Answer, environment: Mapping[str, Any], twin: Answer | None = None) -> Verdict:
    """The verdict on a check; `twin` is the answer for the container that must start if the check's must or may not."""
    return unmet(check, environment) or _judged(check, answer, twin)


def prove(check: Check, answer: Answer, twin: Answer | None = None) -> Redness:
    """Whether the answer of a sabotaged run turns the check red by a verdict; an error proves nothing."""
    if answer.get("unfit"):
        return Redness("error", escaped(answer["unfit"]))
    verdict = _judged(check, answer, twin)
    if verdict.outcome == "fail":
        return Redness("proven", "")
    if verdict.outcome == "error":
        return Redness("error", f"the check went red only by an error: {verdict.reason}")
    return Redness("unproven", "the check did not go red")


def answers(check: Check, answer: Answer) -> list[tuple[str, str]]:
    """What the container answered to all that a check's expectations name, in their order: after a pass, a good answer.

    The host's side is left out: it has identifiers and kernel addresses, and reports are shown to others. So is what is
    not there: nothing is seen inside a container that was refused.
    """
    scope = _scope(answer)
    read = [name for expectation in check.expect for name in sorted(names(expectation.text))]
    seen = []
    for name in dict.fromkeys(read):
        if name.partition(".")[0] in ("inside", "start"):
            with contextlib.suppress(EvaluationError):
                seen.append((name, shown(evaluate(name, scope))))
    return seen


def _judged(check: Check, answer: Answer, twin: Answer | None) -> Verdict:
    doubts = [doubt] if (doubt := _doubt(check, answer, twin)) else []
    scope = _scope(answer)
    failures = []
    for expectation in _applying(check, answer) if not doubts else []:
        missing = _missing(expectation, answer)
        doubts += missing
        try:
            if not missing and not evaluate(expectation.text, scope):
                failures.append(_failure(check, expectation, scope))
        except EvaluationError as error:
            doubts.append(f"{check.path}:{expectation.line}: {error}")
    if doubts:
        return Verdict("error", failures, "\n".join(dict.fromkeys(doubts)))
    return Verdict("fail" if failures else "pass", failures, "")


def _applying(check: Check, answer: Answer) -> list[Expectation]:
    """The expectations that can be judged: where a start that may be refused was, those that look inside cannot."""
    if not (check.may_refuse and _was_refused(answer)):
        return check.expect
    return [each for each in check.expect if all(name.partition(".")[0] != "inside" for name in names(each.text))]


def _doubt(check: Check, answer: Answer, twin: Answer | None) -> str | None:
    """Why nothing may be judged at all: the container that must have run did not show that it ran."""
    if answer.get("error"):
        return escaped(str(answer["error"]))
    if check.twin is None:
        return _did_not_run("the container", answer)
    if twin is None:
        return "the container that must start was not tried"
    if twin.get("error"):
        return escaped(str(twin["error"]))
    doubt = _did_not_run("the container that must start", twin)
    if check.may_refuse and not doubt and not _was_refused(answer):
        return _did_not_run("the container", answer)
    return doubt


def _was_refused(answer: Answer) -> bool:
    return answer.get("start", {}).get("refused") is True


def _did_not_run(which: str, answer: Answer) -> str | None:
    start = answer.get("start", {})
    init = answer.get("inside", {}).get("init", {})
    if start.get("ran") is True and isinstance(init.get("facts"), dict):
        return None
    message = start.get("message") or init.get("error") or "its first process reported nothing"
    return f"{which} did not run: {escaped(str(message))}"


def _missing(expectation: Expectation, answer: Answer) -> list[str]:
    """The observations that an expectation names and that were not made, each with its reason."""
    missing = []
    for name in sorted(names(expectation.text)):
        side, _, rest = name.partition(".")
        observation = rest.split(".")[0]
        if side in OBSERVED:
            made = answer.get(side, {}).get(observation, {})
            if not isinstance(made.get("facts"), dict):
                reason = made.get("error") or "it was not observed"
                missing.append(f"{side}.{observation}: {escaped(str(reason))}")
    return missing


def _scope(answer: Answer) -> dict[str, Any]:
    """The names of an expression: of the observations their facts, of all else what the answer says."""
    scope = {name: answer.get(name, {}) for name in ("config", "canary", "container", "start")}
    for side in OBSERVED:
        made = answer.get(side, {})
        scope[side] = {name: made[name]["facts"] for name in made if "facts" in made[name]}
    return scope


def _failure(check: Check, expectation: Expectation, scope: dict[str, Any]) -> Failure:
    return Failure(expectation.text, check.path, expectation.line, explain(expectation.text, scope))
