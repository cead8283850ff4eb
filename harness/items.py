"""What pytest collects: scenario files, and in them checks and their proofs.

The harness is imported where it is first needed, for pytest loads this module also where no scenario is run.
"""

from __future__ import annotations

import functools
import itertools
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import BadInput, HarnessError

if TYPE_CHECKING:
    from harness.language import Known
    from harness.launches import Case, Launches, Obstacle
    from harness.precision import Record
    from harness.results import Reach, Result
    from harness.scenario import Scenario
    from harness.timing import RunClock

ALL = "all"  # as a value of --runtime
BEGUN = pytest.StashKey[float]()
CLOCK = pytest.StashKey["RunClock"]()
SCENARIOS = pytest.StashKey["dict[Path, Scenario]"]()
NAMES = pytest.StashKey["dict[str, Path]"]()
KNOWN = pytest.StashKey["dict[tuple[Path, str], Known]"]()


class CheckFailed(Exception):
    """A check that does not hold, or a proof that is none."""


class CheckError(Exception):
    """A check that could not be judged: there is no trustworthy observation."""


def clock(config: pytest.Config) -> RunClock:
    """The clock of this process, from when pytest was configured; made when the first scenario asks for it."""
    from harness.timing import RunClock

    if CLOCK not in config.stash:
        config.stash[CLOCK] = RunClock(config.stash[BEGUN])
    return config.stash[CLOCK]


def runtimes(config: pytest.Config) -> list[str]:
    """The runtimes under test, each once, in the order in which they were asked for; `all` are those that are here."""
    from harness import backends

    chosen: list[str] = config.getoption("runtimes") or ["builtin"]
    return list(dict.fromkeys(name for text in chosen for name in (backends.here() if text == ALL else [text])))


def scenario(config: pytest.Config, path: Path) -> Scenario:
    """The scenario in a file, which is read once; raises ScenarioError."""
    from harness.scenario import load

    known = config.stash.setdefault(SCENARIOS, {})
    if path not in known:
        known[path] = load(os.path.relpath(path))
    return known[path]


class ScenarioFile(pytest.File):
    """A scenario; its items are its checks on each runtime, and with --prove their proofs. With --precision comes an
    item for each knob that is named here, and in no file before.
    """

    def collect(self) -> list[CheckItem | KnobItem]:
        with clock(self.config).session("collect"):
            try:
                return [*self.checks(), *(self.knobs() if self.config.getoption("precision") else [])]
            except BadInput as error:
                raise self.CollectError(str(error)) from None

    def checks(self) -> Iterator[CheckItem]:
        """Read the file and make the items of its checks."""
        from harness.launches import Case

        self.config.addinivalue_line("markers", f"{self.path.stem}: a check of {self.nodeid}")
        read = scenario(self.config, self.path)
        self.require_own_names(read)
        known = {runtime: self.known(runtime) for runtime in runtimes(self.config)}
        prove = self.config.getoption("prove") or self.config.getoption("precision")
        for check in read.checks:
            for shaped, runtime in itertools.product(check.everywhere(), runtimes(self.config)):
                for knob in ["", *(shaped.sabotages if prove else [])]:
                    yield CheckItem.of(self, Case(shaped, runtime, knob), known[runtime])

    def require_own_names(self, read: Scenario) -> None:
        """Raise BadInput where another file has the same area or check: reports tell both as one."""
        names = self.config.stash.setdefault(NAMES, {})
        own = {f"area {self.path.stem!r}": 1, **{f"check {check.name!r}": check.line for check in read.checks}}
        for name, line in own.items():
            other = names.setdefault(name, self.path)
            if other != self.path:
                path, first = os.path.relpath(self.path), os.path.relpath(other)
                raise BadInput(f"{path}:{line}:1: {first} has the {name}, too; rename one of them")

    def knobs(self) -> Iterator[KnobItem]:
        """Make the items of the knobs; they are turned under checks of all scenarios of the folder."""
        from harness import precision

        record = precision.read(self.config.rootpath / precision.RECORD)
        every = [scenario(self.config, path) for path in sorted(self.path.parent.glob("*.yaml"))]
        own = scenario(self.config, self.path)
        for knob, checks in precision.knobs(every).items():
            if checks[0].path == own.path:
                yield KnobItem.of(self, knob, checks[0].line, every, record)

    def known(self, runtime: str) -> Known:
        """What is known of a runtime, in the version that is here; read once for all files of a folder."""
        from harness import launches

        known = self.config.stash.setdefault(KNOWN, {})
        folder = self.path.parent / "known"
        if (folder, runtime) not in known:
            known[folder, runtime] = launches.known(folder, runtime)
        return known[folder, runtime]


class CheckItem(pytest.Function):
    """A check on a runtime, or the proof of one; an ordinary test function in all other respects."""

    case: Case
    known: Known
    result: Result

    @classmethod
    def of(cls, file: ScenarioFile, case: Case, known: Known) -> CheckItem:
        from harness.results import Result

        check, runtime, knob = case
        name = f"{check.name}[{'-'.join(filter(None, (runtime, check.shape, knob)))}]"
        item: CheckItem = cls.from_parent(file, name=name, callobj=_function(case))
        item.case = case
        item.known = known
        item.result = Result(
            check=check.name,
            area=file.path.stem,
            path=check.path,
            line=check.line,
            runtime=runtime,
            claim=check.claim,
            severity=check.severity,
            shape=check.shape,
        )
        for mark in (check.severity, file.path.stem, *(["slow"] if check.slow else [])):
            item.add_marker(mark)
        finding = known.finding(check.name, check.shape)
        if finding and not knob:
            item.add_marker(pytest.mark.xfail(reason=finding.reason, raises=CheckFailed, strict=True))
        return item

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.case.check.line - 1, self.name

    @property
    def location(self) -> tuple[str, int | None, str]:
        return self.parent.nodeid if self.parent else "", self.case.check.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A failed check explains itself; a traceback through the harness would say nothing more."""
        if not isinstance(excinfo.value, CheckFailed | CheckError):
            return super().repr_failure(excinfo)
        from harness import environment
        from harness.report import terminal

        return terminal.failure(self.result, environment.facts(), self.case.knob)

    @functools.cached_property
    def obstacle(self) -> Obstacle | None:
        """What stands in the way, looked for once: the launches are shared among those that nothing stops."""
        from harness.launches import obstacle

        return obstacle(self.case, self.known)

    def carry_out(self, launches: Launches) -> None:
        """Run the check or its proof and note what came of it; raises CheckFailed, CheckError, or skips."""
        from harness.report._text import plain

        if not self.obstacle:
            self.judge(launches)
        elif not self.obstacle.declared and os.environ.get("ISOPROOF_MUST_RUN") == "1":
            self.note("error", f"ISOPROOF_MUST_RUN=1, but this cannot run here: {self.obstacle.reason}")
        else:
            pytest.skip(plain(self.obstacle.reason))

    def judge(self, launches: Launches) -> None:
        from harness import environment, verdict

        try:
            answer, *twins = launches.answers(self.case)
        except HarnessError as error:
            self.note("error", str(error))
            return
        twin = twins[0] if twins else None
        self.result.command = shlex.join(answer.get("start", {}).get("command", []))
        with clock(self.config).part("judge"):
            if self.case.knob:
                self.note(*verdict.prove(self.case.check, answer, twin))
            else:
                judged = verdict.judge(self.case.check, answer, environment.facts(), twin)
                self.result.failures = judged.failures
                if judged.outcome == "pass":
                    self.result.answers = verdict.answers(self.case.check, answer)
                self.note(judged.outcome, judged.reason)

    def note(self, outcome: Any, reason: str) -> None:
        """Take down an outcome, of the check or of its proof, and raise what it means to pytest."""
        from harness.results import Proof, printable

        reason = printable(reason)
        if self.case.knob:
            self.result.proofs = [Proof(self.case.knob, outcome, reason)]
        else:
            self.result.outcome, self.result.reason = outcome, reason
        if outcome == "error":
            raise CheckError(reason)
        if outcome in ("fail", "unproven"):
            raise CheckFailed(reason)

    def listed(self) -> str:
        """Where the check is said to fail, and in which versions."""
        from harness import backends

        versions = self.known.fails[self.case.check.name].versions
        file = f"scenarios/known/{backends.findings(self.case.runtime)}.yaml"
        return f"{file} (versions {versions})" if versions else file

    def completed(self, report: pytest.TestReport) -> Result:
        """The result, with what only pytest knows: how long it took, that it was skipped, or that it crashed."""
        from msgspec.structs import replace

        from harness.results import Proof, printable

        result, knob = self.result, self.case.knob
        milliseconds = round(report.duration * 1000, 3)
        noted: Any = result.outcome
        reason = result.reason
        if knob and result.proofs:
            noted, reason = result.proofs[0].outcome, result.proofs[0].reason
        outcome: Any = noted or "error"
        if report.skipped and hasattr(report, "wasxfail"):
            outcome, reason = "xfail", report.wasxfail
        elif report.skipped:
            outcome, reason = "skip", str(report.longrepr[2]).removeprefix("Skipped: ")  # type: ignore[index]
        elif report.failed and report.longreprtext.startswith("[XPASS(strict)]"):
            outcome, reason = "fail", f"it holds, but {self.listed()} says that it fails"
        elif report.failed and noted in (None, "pass", "proven"):
            outcome, reason = "error", report.longreprtext.strip().rpartition("\n")[2]
        if knob:
            return replace(result, proofs=[Proof(knob, outcome, printable(reason), milliseconds)])
        return replace(result, outcome=outcome, reason=printable(reason), milliseconds=milliseconds)


def _function(case: Case) -> Callable[..., None]:
    """The test function of an item; its parameters are fixtures, as those of any test are."""

    def check(request: pytest.FixtureRequest, launches: Launches) -> None:
        request.node.carry_out(launches)

    check.__doc__ = case.check.claim
    return check


class KnobItem(pytest.Function):
    """A knob, and whether it turns red what it is recorded to turn red, and nothing else."""

    knob: str
    line: int
    reach: Reach | None = None

    @classmethod
    def of(cls, file: ScenarioFile, knob: str, line: int, scenarios: list[Scenario], record: Record) -> KnobItem:
        """Make the item of a knob; `line` is that of a check which names it."""
        from harness import environment, precision

        kind = precision.machine(environment.facts())
        known = file.known(precision.RUNTIME)
        compare = file.config.getoption("precision") == "compare"

        def turn(request: pytest.FixtureRequest, launches: Launches) -> None:
            """The knob turns those checks red that it is recorded to turn red, and no others"""
            request.node.reach = precision.reach(knob, scenarios, known, launches)
            if compare and kind not in record:
                pytest.skip(f"nothing is recorded for this kind of machine: {kind}; the reports have what was found")
            if compare and (wrong := precision.deviations(request.node.reach, record[kind])):
                raise CheckFailed("\n".join(wrong))

        item: KnobItem = cls.from_parent(file, name=f"precision[{precision.RUNTIME}-{knob}]", callobj=turn)
        item.knob, item.line = knob, line
        item.add_marker(file.path.stem)
        return item

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.line - 1, self.name

    @property
    def location(self) -> tuple[str, int | None, str]:
        return self.parent.nodeid if self.parent else "", self.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Where a knob does something else than recorded, the checks are all that there is to say."""
        if not isinstance(excinfo.value, CheckFailed):
            return super().repr_failure(excinfo)
        from harness import environment
        from harness.report import terminal

        return terminal.imprecision(str(excinfo.value), self.knob, self.nodeid, self.line, environment.facts())
