"""Where the time of a run goes: by part, by area, checks and proofs apart.

Every moment belongs to one part of one check or proof, or of the session: the parts sum to the whole.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from harness.clock import Clock

PARTS = {
    "collect": "scenario files are read, and checks find the launches that they share",
    "kit": "the probe kit is built, or found in the cache",
    "sandboxes": "outer sandboxes start and end",
    "prepare": "bundles are made and canaries placed",
    "observe": "the host observes, and acts while a probe waits for it",
    "start": "containers start: from the request to the first line from inside",
    "probes": "the other probes inside",
    "end": "containers end, and what they have left is looked for and removed",
    "exchange": "requests and answers travel to the sandbox and back",
    "judge": "verdicts",
    "report": "results are gathered and reports written",
    "rest": "pytest itself, and all else",
}
SLOWEST = 10  # launches of checks that are told, and as many of proofs

Answer = dict[str, Any]
Parts = dict[str, float]


class LaunchTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long one launch took, and which checks it served; `sabotage` is that of a proof."""

    checks: list[str]
    runtime: str
    milliseconds: float
    parts: Parts
    sabotage: str = ""


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many milliseconds each part took: of the session, and by area of the checks and of their proofs.

    All of them sum to `milliseconds`. Where several processes have shared the work, their times are added up.
    """

    milliseconds: float
    session: Parts
    checks: dict[str, Parts]
    proofs: dict[str, Parts]
    slowest: list[LaunchTime]
    processes: int = 1

    def of_checks(self) -> Parts:
        """The parts of all checks together."""
        return _added(self.checks.values())

    def of_proofs(self) -> Parts:
        """The parts of all proofs together."""
        return _added(self.proofs.values())

    def by_part(self) -> Parts:
        """The parts of session, checks and proofs together."""
        return _added([self.session, self.of_checks(), self.of_proofs()])


def merged(timings: Iterable[Timing]) -> Timing:
    """What several processes took together."""
    every = list(timings)
    return Timing(
        milliseconds=sum(timing.milliseconds for timing in every),
        session=_added(timing.session for timing in every),
        checks=_added_by_area(timing.checks for timing in every),
        proofs=_added_by_area(timing.proofs for timing in every),
        slowest=_slowest(launch for timing in every for launch in timing.slowest),
        processes=sum(timing.processes for timing in every),
    )


def timing_to_text(timing: Timing) -> str:
    """The times of a worker in one line, as they travel to the process that writes the report."""
    return msgspec.json.encode(timing).decode()


def timing_from_text(text: str) -> Timing:
    return msgspec.json.decode(text, type=Timing)


def _added(every: Iterable[Parts]) -> Parts:
    """The sum for each part, in the order of PARTS."""
    total: Parts = {}
    for parts in every:
        for name, length in parts.items():
            total[name] = total.get(name, 0.0) + length
    return {name: total[name] for name in [*PARTS, *(total.keys() - PARTS)] if name in total}


def _added_by_area(every: Iterable[dict[str, Parts]]) -> dict[str, Parts]:
    total: dict[str, Parts] = {}
    for areas in every:
        for area, parts in areas.items():
            total[area] = _added([total.get(area, {}), parts])
    return total


def _slowest(launches: Iterable[LaunchTime]) -> list[LaunchTime]:
    ordered = sorted(launches, key=lambda launch: -launch.milliseconds)
    groups = [launch for launch in ordered if not launch.sabotage], [launch for launch in ordered if launch.sabotage]
    return [launch for group in groups for launch in group[:SLOWEST]]


class Owner(NamedTuple):
    """Whose time it is: the checks of an area, their proofs, or, without an area, the session."""

    area: str = ""
    proof: bool = False


class RunClock:
    """The clock of one session."""

    def __init__(self, since: float | None = None) -> None:
        self._owner = Owner()
        self._clock = Clock((self._owner, "rest"), since)
        self._launches: list[LaunchTime] = []

    @contextlib.contextmanager
    def item(self, area: str, proof: bool) -> Iterator[None]:
        """Count for the checks or the proofs of an area while the context lasts."""
        before, self._owner = self._owner, Owner(area, proof)
        try:
            with self.part("rest"):
                yield
        finally:
            self._owner = before

    def part(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Count for a part of the present check or proof, or of the session between them."""
        return self._clock.counting((self._owner, name))

    def session(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Count for a part of the session even within an item, for what is done once and serves them all."""
        return self._clock.counting((Owner(), name))

    def launch(self, checks: list[str], runtime: str, sabotage: str, run: Callable[[], Answer]) -> Answer:
        """Carry out a launch, and count for its parts what the host role has measured of them."""
        begun = time.monotonic()
        with self.part("exchange"):
            answer = run()
        total = (time.monotonic() - begun) * 1000
        parts: Parts = answer.get("milliseconds", {})
        self._clock.hand_over((self._owner, "exchange"), {(self._owner, name): parts[name] for name in parts})
        every = {**parts, "exchange": total - sum(parts.values())}
        self._launches.append(LaunchTime(checks, runtime, _rounded(total), _rounded_parts(every), sabotage))
        return answer

    def timing(self) -> Timing:
        """What has been counted until now."""
        counted = self._clock.milliseconds()
        session: Parts = {}
        checks: dict[str, Parts] = {}
        proofs: dict[str, Parts] = {}
        for (owner, name), length in counted.items():
            parts = (proofs if owner.proof else checks).setdefault(owner.area, {}) if owner.area else session
            parts[name] = _rounded(length)
        return Timing(
            milliseconds=_rounded(sum(counted.values())),
            session=_added([session]),
            checks=_added_by_area([checks]),
            proofs=_added_by_area([proofs]),
            slowest=_slowest(self._launches),
        )


def _rounded(length: float) -> float:
    return round(length, 3)


def _rounded_parts(parts: Parts) -> Parts:
    return {name: _rounded(length) for name, length in parts.items()}
