"""The one result list: what every report is rendered from, and the shape of reports/isolation.json.

A result is one check on one runtime. It says all that a reader needs to judge it without the machine it came
from: the claim, the outcome, the expressions that did not hold with the values of their parts, and how the
check was proven.
"""

import shlex
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec

from harness import environment
from harness.errors import BadInput
from harness.runtime.errors import written_out
from harness.severities import Severity
from harness.timing import Timing

FORMAT: Final = 1
LONGEST_TEXT = 16 * 1024

Outcome = Literal["pass", "fail", "error", "skip", "xfail"]
ProofOutcome = Literal["proven", "unproven", "error", "skip"]
Standing = Literal["proven", "cannot be shown here", "not proven"]
Line = Annotated[int, msgspec.Meta(ge=1)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One expression of a check that did not hold, where it stands and what its parts were."""

    expression: str
    path: str
    line: Line
    values: list[tuple[str, str]] = []


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run of a check under one sabotage: proven if the check went red by a verdict."""

    sabotage: str
    outcome: ProofOutcome
    reason: str = ""
    milliseconds: Milliseconds = 0.0


class Result(msgspec.Struct, forbid_unknown_fields=True):
    """One check on one runtime. `reason` is why it was skipped, erred, or was expected to fail.

    `outcome` is None where only the check's proofs were run. `path` and `line` are where the check stands. `shape` is
    the container that it was made in if that is not its own. `answers` are, of a check that passed, what the container
    answered to all that its expectations name. `command` is what started it, where that was a program of the runtime's.
    """

    check: str
    area: str
    path: str
    line: Line
    runtime: str
    claim: str
    severity: Severity
    outcome: Outcome | None = None
    reason: str = ""
    failures: list[Failure] = []
    milliseconds: Milliseconds = 0.0
    proofs: list[Proof] = []
    shape: str = ""
    answers: list[tuple[str, str]] = []
    command: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.path, self.label, self.runtime

    @property
    def label(self) -> str:
        """The check's name, and the shape that it was made in unless it is its own."""
        return f"{self.check}[{self.shape}]" if self.shape else self.check

    def standing(self) -> Standing | None:
        """Whether the check is proven: it holds, and went red under each of its knobs that can be turned here.

        If there is no such knob, that cannot be shown here. None where no proof was asked for.
        """
        if not self.proofs:
            return None
        tried = {proof.outcome for proof in self.proofs} - {"skip"}
        if self.outcome in ("fail", "error") or tried - {"proven"}:
            return "not proven"
        return "proven" if tried else "cannot be shown here"

    def missing_proofs(self) -> list[Proof]:
        """The proofs that do not hold. That a check which was not made itself was not proven either is no news."""
        made = self.outcome not in ("skip", "xfail")
        return [proof for proof in self.proofs if proof.outcome != "proven" and (made or proof.outcome != "skip")]


class Reach(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a knob did to the checks under which it was tried, those that name it (`own`) and others.

    `red` went red by a verdict, `error` were left without one, `green` held, `skipped` are not made here. A check in
    whose container the knob finds nothing to break, or which the runtime refuses then, is in none of them.
    """

    sabotage: str
    own: list[str]
    red: list[str] = []
    error: list[str] = []
    green: list[str] = []
    skipped: list[str] = []

    def own_red(self) -> list[str]:
        return [check for check in self.red if check in self.own]

    def others_red(self) -> list[str]:
        return [check for check in self.red if check not in self.own]


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime that was put under test; `missing` says why it could not be."""

    name: str
    version: str
    missing: str = ""


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a check is about, on whatever runtime: why it is made, what is expected, which knobs prove it.

    `sabotages` says what each of its knobs does, `see` names the sources, `also` other suites that make this check.
    """

    why: str
    expect: list[str]
    sabotages: dict[str, str]
    see: list[str]
    also: list[str]


class Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the checks of one scenario file have in common, and what each of them is about."""

    title: str
    why: str
    checks: dict[str, About]


class Results(msgspec.Struct, forbid_unknown_fields=True):
    """All that one run found out.

    `started` is UTC in ISO 8601, `milliseconds` the wall time; `timing` says where it went. `reaches` has a row for
    each knob, where they were tried under other checks than their own. `catalogue` says by area what the checks are
    about. Older files have no `timing` and no `catalogue`.
    """

    environment: dict[str, Any]
    runtimes: list[Runtime]
    results: list[Result]
    started: str
    milliseconds: Milliseconds
    format: Literal[1] = FORMAT
    timing: Timing | None = None
    reaches: list[Reach] = []
    catalogue: dict[str, Area] = {}

    def areas(self) -> dict[str, dict[str, dict[str, Result]]]:
        """The results as a matrix: area -> check in a shape -> runtime, in the order in which they were found."""
        matrix: dict[str, dict[str, dict[str, Result]]] = {}
        for result in self.results:
            matrix.setdefault(result.area, {}).setdefault(result.label, {})[result.runtime] = result
        return matrix

    def outcomes(self, runtime: str, area: str | None = None) -> Counter[str]:
        """How often each outcome was seen on a runtime."""
        return Counter(
            result.outcome
            for result in self.results
            if result.runtime == runtime and area in (None, result.area) and result.outcome is not None
        )

    def standings(self, runtime: str) -> Counter[str]:
        """How many checks of a runtime are proven, cannot be shown to go red here, and are not proven."""
        mine = [result.standing() for result in self.results if result.runtime == runtime]
        return Counter(standing for standing in mine if standing)


def merge(results: list[Result]) -> list[Result]:
    """One result for each check and runtime, by file and line.

    The proofs of a check are items of their own, and may be run by another worker than the check, before or
    after it.
    """
    merged: dict[tuple[str, str, str], Result] = {}
    for result in results:
        known = merged.setdefault(result.identity, result)
        if known is result:
            continue
        if result.outcome is not None:
            result.proofs = known.proofs + result.proofs
            merged[result.identity] = result
        else:
            known.proofs = known.proofs + result.proofs
    return sorted(merged.values(), key=lambda result: (result.path, result.line))


def printable(text: str) -> str:
    """The text without anything that could act on a terminal or a page: containers are hostile.

    Control characters, surrogates and the marks that turn the direction of writing become their escapes;
    newlines stay. Text beyond 16 KiB is cut, and says so.
    """
    safe = "\n".join(map(written_out, text[:LONGEST_TEXT].split("\n")))
    return safe if len(text) <= LONGEST_TEXT else f"{safe}… ({len(text) - LONGEST_TEXT} more characters)"


def one_line(text: object) -> str:
    """The text, or what an error says, likewise and in one line."""
    return printable(" ".join(str(text).split()))


def to_json(results: Results) -> str:
    return msgspec.json.format(msgspec.json.encode(results), indent=2).decode() + "\n"


def from_json(text: str | bytes, path: str = "results") -> Results:
    """The results of a file; BadInput names the file and what is wrong with it."""
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
        version = document.get("format")
        if version is None and "matrix" in document:
            raise BadInput(f"{path}: it is a matrix of several runs; isoproof report --matrix {path} tells it")
        require_format("result", version, FORMAT, path)
        results = msgspec.json.decode(text, type=Results)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: not a result list of isoproof: {one_line(error)}") from None
    require_environment(results.environment, path)
    if problem := _inconsistency(results):
        raise BadInput(f"{path}: {problem}")
    return results


def _inconsistency(results: Results) -> str:
    """What cannot be in a file that a run has left, "" if nothing: it was edited, or put together of two."""
    try:
        datetime.fromisoformat(results.started).astimezone(UTC) + timedelta(milliseconds=results.milliseconds)
    except (ValueError, OverflowError):
        return f"started {results.started!r} is no time in ISO 8601"
    runtimes: set[str] = set()
    for runtime in results.runtimes:
        if runtime.name in runtimes:
            return f"{runtime.name!r} was put under test twice"
        runtimes.add(runtime.name)
    identities: set[tuple[str, str, str]] = set()
    checks: dict[tuple[str, str], tuple[str, ...]] = {}
    for result in results.results:
        if result.runtime not in runtimes:
            return f"{result.check!r} is told of {result.runtime!r}, which was not put under test there"
        if result.identity in identities:
            return f"{result.label!r} is told of {result.runtime!r} twice"
        identities.add(result.identity)
        about = (result.area, result.claim, result.severity)
        if checks.setdefault((result.path, result.check), about) != about:
            return f"{result.check!r} is told of with two areas, claims or severities"
        if result.area in results.catalogue and result.check not in results.catalogue[result.area].checks:
            return f"its catalogue does not know {result.check!r} of {result.area!r}"
    return ""


def require_format(
    what: str, found: object, known: int, path: str, again: str = "run the checks again with this one"
) -> None:
    """Raise BadInput, with a file's name, where the version of its format is not the one that is read here."""
    if found != known:
        newer = isinstance(found, int) and found > known
        advice = "a newer isoproof has written it: read it with that" if newer else again
        raise BadInput(f"{path}: {what} format {one_line(repr(found))} is not {known}; {advice}")


def require_environment(facts: dict[str, Any], path: str) -> None:
    """Raise BadInput, with a file's name, where its environment lacks what every report tells of it."""
    try:
        environment.one_line(facts)
        image = facts.get("image") or {"path": ""}
        shlex.join([*facts.get("command", []), image["path"]])  # the command that repeats a check is made of them
    except (LookupError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: its environment is not one that isoproof has written: {error!r}") from None


def result_to_text(result: Result) -> str:
    """One result in one line, as it travels from a worker to the process that writes the report."""
    return msgspec.json.encode(result).decode()


def result_from_text(text: str) -> Result:
    return msgspec.json.decode(text, type=Result)


def reach_to_text(reach: Reach) -> str:
    return msgspec.json.encode(reach).decode()


def reach_from_text(text: str) -> Reach:
    return msgspec.json.decode(text, type=Reach)
