"""One check on one runtime: what stands in its way, and which launch it shares with others.

A launch costs a thousand times what a probe costs. So checks with equal containers share one, which makes the
observations of all of them; a check that spoils its container (`alone: true`) has its own. Good runs share one
outer sandbox, a sabotaged run has a fresh one: what it breaks, nobody else shall see. While a sabotaged run goes on,
the sandbox of the next one is being started; runs are made one after the other, in the order in which they are asked
for.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from harness import backends, environment, sabotage, shapes, verdict
from harness.errors import HarnessError
from harness.language import Container, Known
from harness.runtime.config import Config
from harness.scenario import Check, load_known
from harness.timing import RunClock

START = 30.0  # seconds that a launch gets besides the deadlines of its probes
SIDES = ("inside", "host", "host_after")

Answer = dict[str, Any]


class Host(Protocol):
    """Where runs are carried out: an outer sandbox, in which the host role answers requests (`harness.host`)."""

    def run(self, request: dict[str, Any], deadline: float) -> Answer: ...


Start = Callable[[], AbstractContextManager[Host]]


class Case(NamedTuple):
    """One check on one runtime, as it should be, or with one sabotage."""

    check: Check
    runtime: str
    knob: str = ""

    def request(self, container: Container) -> dict[str, Any]:
        """What a launch of the container is asked for, still without observations."""
        return {
            "runtime": self.runtime,
            "config": config(*self.check.base, container),
            "image": container.as_dict().get("image", {}),
            "canaries": self.check.canaries,
            "sabotage": [self.knob] if self.knob else [],
        }


class Obstacle(NamedTuple):
    """Why a case is not run. It is `declared` if a scenario, a known finding or the knob itself says so; any
    other is a lack of this machine, which must not go unnoticed where the suite is relied upon. `lacking` are the
    features that it is about, where the runtime cannot be asked for some."""

    reason: str
    declared: bool
    lacking: tuple[str, ...] = ()


class Launch:
    """One launch and the observations that it makes for all who share it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request: dict[str, Any] = {**request, **{side: {} for side in SIDES}}
        self.checks: list[str] = []
        self.answer: Answer | HarnessError | None = None

    def takes(self, observations: dict[str, dict[str, Any]]) -> bool:
        """Whether none of the observations bears the name of a different one."""
        return all(
            self.request[side].get(name, entry) == entry
            for side, entries in observations.items()
            for name, entry in entries.items()
        )

    def add(self, observations: dict[str, dict[str, Any]]) -> None:
        for side, entries in observations.items():
            self.request[side].update(entries)

    def patient(self, times: float) -> tuple[dict[str, Any], float]:
        """The request, its probes having so many times as long as usual; and the seconds in which all may be late."""
        observations = {
            side: {name: {**entry, "deadline": entry["deadline"] * times} for name, entry in self.request[side].items()}
            for side in SIDES
        }
        late = sum(entry["deadline"] for entries in observations.values() for entry in entries.values())
        return {**self.request, **observations}, START * times + float(late)


class Sharing:
    """Which launches serve some cases: those that want equal containers share one. All of them must be told before the
    first launch is made, for it makes the observations of all who share it.
    """

    def __init__(self, cases: Iterable[Case]) -> None:
        self.launches: list[Launch] = []
        self._shared: dict[str, list[Launch]] = {}
        self._of_case: dict[tuple[str, str, str, str], tuple[Launch, ...]] = {}
        for case in cases:
            self.of(case)

    def of(self, case: Case) -> tuple[Launch, ...]:
        """The launch of a case; for a refused container also that of its twin."""
        check = case.check
        key = (check.path, check.label, case.runtime, case.knob)
        if key not in self._of_case:
            observations = {"inside": check.inside, "host": check.host, "host_after": check.host_after}
            launches = [self._launch(case.request(check.container), observations, check.alone)]
            if check.twin:
                as_it_should_be = case._replace(knob="")  # what cannot be turned on that container would prove nothing
                launches.append(self._launch(as_it_should_be.request(check.twin), {}, alone=False))
            for launch in launches:
                launch.checks.append(check.label)
            self._of_case[key] = tuple(launches)
        return self._of_case[key]

    def proofs(self) -> int:
        """How many launches are still to be made in a sandbox of their own."""
        return sum(launch.answer is None and bool(launch.request["sabotage"]) for launch in self.launches)

    def _launch(self, request: dict[str, Any], observations: dict[str, Any], alone: bool) -> Launch:
        known = [] if alone else self._shared.setdefault(json.dumps(request, sort_keys=True), [])
        for launch in known:
            if launch.answer is None and launch.takes(observations):
                break
        else:
            launch = Launch(request)
            known.append(launch)
            self.launches.append(launch)
        launch.add(observations)
        return launch


class Launches:
    """The launches of one session, each made when the first of those who share it asks for its answer.

    `patience` says how many times as long as usual everything may take.
    """

    def __init__(
        self, start: Start, cases: Iterable[Case], clock: RunClock | None = None, patience: float = 1.0
    ) -> None:
        self._start = start
        self._patience = patience
        self._clock = clock or RunClock()
        self._good = ExitStack()
        self._host: Host | None = None
        self._spare: AbstractContextManager[Host] | None = None
        self._sharing = Sharing(cases)

    def answers(self, case: Case) -> tuple[Answer, ...]:
        """What the host role answered for a case; for a refused container also what it did for its twin.

        Raises HarnessError, for each who shares the launch, where there is no answer.
        """
        return tuple(self._answer(launch) for launch in self._sharing.of(case))

    def together(self, cases: list[Case]) -> Iterator[tuple[Case, tuple[Answer, ...] | HarnessError]]:
        """The answers of cases that share launches with one another alone; nobody else can ask for them later."""
        sharing = Sharing(cases)
        for case in cases:
            try:
                yield case, tuple(self._answer(launch) for launch in sharing.of(case))
            except HarnessError as error:
                yield case, error

    def close(self) -> None:
        """End the sandboxes, also one that was started and is not wanted any more."""
        with self._clock.session("sandboxes"), self._good:
            self._host = None
            if self._spare:
                self._good.enter_context(self._spare)
                self._spare = None

    def _answer(self, launch: Launch) -> Answer:
        if launch.answer is None:
            try:
                launch.answer = self._carry_out(launch)
            except HarnessError as error:
                launch.answer = error
        if isinstance(launch.answer, HarnessError):
            raise launch.answer
        return launch.answer

    def _carry_out(self, launch: Launch) -> Answer:
        if launch.request["sabotage"]:
            with self._fresh() as host:
                return self._run(host, launch)
        if self._host is None:
            with self._clock.session("sandboxes"):
                self._host = self._good.enter_context(self._start())
        try:
            return self._run(self._host, launch)
        except HarnessError:
            self._host = None
            self._good.close()  # a sandbox that gives no answer is of no use to the next
            raise

    @contextmanager
    def _fresh(self) -> Iterator[Host]:
        """A sandbox that nobody else has used or will use; the next one is being started as soon as it is there."""
        with ExitStack() as sandbox:
            with self._clock.part("sandboxes"):
                spare, self._spare = self._spare, None
                host = sandbox.enter_context(spare or self._start())
                self._spare = self._start() if self._sharing.proofs() > 1 else None
            try:
                yield host
            finally:
                with self._clock.part("sandboxes"):
                    sandbox.close()

    def _run(self, host: Host, launch: Launch) -> Answer:
        request, deadline = launch.patient(self._patience)
        return self._clock.launch(
            launch.checks,
            request["runtime"],
            " + ".join(request["sabotage"]),
            lambda: host.run(request, deadline),
        )


def config(*layers: Container) -> Config:
    """The config of a container, the last of the layers that are laid over each other, for who runs the harness."""
    return shapes.config(layers, os.geteuid(), os.getegid())


def known(folder: Path, runtime: str) -> Known:
    """What is known of a runtime, in the version that is here; the folder holds a file for each.

    What it cannot be asked for, it cannot with options either: those skips hold for it, too, and so do differences.
    """
    version = backends.version(runtime)
    own, plain = (
        load_known(os.path.relpath(path)).of(version) if path.exists() else Known()
        for path in (folder / f"{name}.yaml" for name in (backends.findings(runtime), backends.parse(runtime).name))
    )
    inherited = {
        name: entry for name, entry in plain.skips.items() if name not in own.fails or entry.beside(own.fails[name])
    }
    return Known(fails=own.fails, skips=inherited | own.skips, differs=plain.differs | own.differs)


def obstacle(case: Case, known: Known, asked: Config | None = None) -> Obstacle | None:
    """What stands in the way of a case, if anything does; `asked` is its config, if that is there already."""
    unmet = verdict.unmet(case.check, environment.facts())
    if unmet and unmet.outcome == "skip":
        return Obstacle(unmet.reason, declared=True)
    if skipped := known.skipped(case.check.name, case.check.shape):
        return Obstacle(skipped.reason, declared=True)
    backend = backends.load(case.runtime)
    if missing := backend.available():
        return Obstacle(missing, declared=False)
    asked = asked or config(*case.check.base, case.check.container)
    # What another runtime cannot express is its nature; what ours cannot, this machine lacks.
    if lacking := backend.unsupported(asked):
        reason = f"{case.runtime} cannot give: {'; '.join(lacking)}"
        return Obstacle(reason, declared=case.runtime != "builtin", lacking=tuple(lacking))
    if case.knob:
        unprovable = verdict.unprovable(case.check, environment.facts(), case.knob)
        if unprovable and unprovable.outcome == "skip":
            return Obstacle(unprovable.reason, declared=True)
        if known.finding(case.check.name, case.check.shape):
            return Obstacle(f"known to fail on {case.runtime}, so it can prove nothing there", declared=True)
        if inapplicable := sabotage.applies_to(case.knob, case.runtime):
            return Obstacle(inapplicable, declared=True)
        with suppress(sabotage.Unfit):
            if lacking := backend.unsupported(sabotage.sabotaged_config([case.knob], asked)):
                return Obstacle(f"{case.runtime} cannot be asked for the sabotage: {'; '.join(lacking)}", declared=True)
    return None
