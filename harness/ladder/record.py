"""What a climb has found, and the shape of reports/ladder.json."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from harness.errors import BadInput
from harness.results import Failure, one_line, require_environment, require_format
from harness.severities import SEVERITIES, rank

FORMAT = 1
FILE = "ladder.json"

Outcome = Literal["pass", "fail", "error"]
Failures = list[Failure]


class ToldStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step of a plan: its name, why it is made there, with its manual page, and its system calls as text."""

    name: str
    why: str
    calls: list[str]


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A check that does not hold at a rung, and the expressions that show it, with the values of their parts."""

    check: str
    failures: Failures


class ToldRung(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rung: the feature that was added, what takes it away again, and what of a plan it is.

    `flags` are those of clone3(2), `steps` are new or make other calls than below. `example` is the worst that is still
    open, None where nothing is.
    """

    name: str
    feature: str
    page: str
    title: str
    why: str
    knobs: list[str]
    flags: str
    steps: list[ToldStep]
    example: Example | None = None


class Climber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One check, and what became of it at each rung, from the bottom up.

    `reason` is why it was left without a verdict, at the lowest rung at which it was.
    """

    name: str
    area: str
    path: str
    line: int
    claim: str
    severity: str
    outcomes: list[Outcome]
    reason: str = ""

    @property
    def turns(self) -> int | None:
        """The first rung from which on the check holds up to the top; None where it does not hold there."""
        if self.outcomes[-1] != "pass":
            return None
        return next(rung for rung in range(len(self.outcomes)) if set(self.outcomes[rung:]) == {"pass"})


class Ladder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One climb. `started` is UTC in ISO 8601, `seconds` the wall time.

    `left_out` are the checks that need a container of their own, `skipped` those that this machine cannot make, each
    with the reason.
    """

    environment: dict[str, Any]
    started: str
    seconds: float
    containers: int
    rungs: list[ToldRung]
    checks: list[Climber]
    left_out: list[str]
    skipped: dict[str, str]
    format: int = FORMAT

    def turned(self, rung: int) -> list[Climber]:
        """The checks that hold from this rung on, and not from the one below."""
        return [check for check in self.checks if check.turns == rung]

    def green(self, rung: int) -> list[Climber]:
        """The checks that hold from this rung, or one below, up to the top."""
        return [check for check in self.checks if check.turns is not None and check.turns <= rung]

    def open(self, rung: int) -> list[Climber]:
        """All others, the worst first, and of those the ones first that turn green first."""
        top = len(self.rungs)
        rest = [(check, top if check.turns is None else check.turns) for check in self.checks]
        above = [(rank(check.severity), turns, check) for check, turns in rest if turns > rung]
        return [check for *_, check in sorted(above, key=lambda each: each[:2])]

    def idle(self) -> list[str]:
        """The rungs that turn nothing green, which says that they, or what takes them away, do nothing here."""
        return [rung.name for at, rung in enumerate(self.rungs) if not self.turned(at)]

    def find(self, name: str) -> int:
        """The number of a rung; BadInput where there is none of that name."""
        names = [rung.name for rung in self.rungs]
        if name not in names:
            raise BadInput(f"no such rung: {name}; there are {', '.join(names)}")
        return names.index(name)


def to_json(ladder: Ladder) -> str:
    return msgspec.json.format(msgspec.json.encode(ladder), indent=1).decode() + "\n"


def from_json(text: str | bytes, path: str = "ladder") -> Ladder:
    """The ladder in a file; BadInput names the file and says in one line what is wrong with it."""
    try:
        version = msgspec.json.decode(text, type=dict[str, Any]).get("format")
        require_format("ladder", version, FORMAT, path, "isoproof ladder climbs it again")
        ladder = msgspec.json.decode(text, type=Ladder)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: not a ladder of isoproof: {one_line(error)}") from None
    require_environment(ladder.environment, path)
    for check in ladder.checks:
        if len(check.outcomes) != len(ladder.rungs) or check.severity not in SEVERITIES:
            raise BadInput(
                f"{path}: not a ladder of isoproof: {one_line(check.name)} was not made at each of its rungs"
            )
    names = {check.name for check in ladder.checks}
    for rung in ladder.rungs:
        if rung.example and rung.example.check not in names:
            raise BadInput(
                f"{path}: not a ladder of isoproof: it tells of {one_line(rung.example.check)}, which was not made"
            )
    return ladder


def read(path: Path) -> Ladder:
    """Likewise, of a file that may not be there."""
    try:
        return from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInput(f"open {path}: {error.strerror}; isoproof ladder writes it") from None
