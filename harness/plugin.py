"""The pytest plugin: scenario files become items, results become reports.

    pytest scenarios/                       every check on our own runtime
    pytest scenarios/ --runtime runc        on another one (repeat the option for several)
    pytest scenarios/ --prove               besides, every check under each of its sabotages

An item is a check on a runtime, `scenarios/uts.yaml::uts-ns-differs[builtin]`, or one of its proofs,
`…[builtin-skip-ns=uts]`, which passes only if the check goes red, and red by a verdict. A check that is made in another
shape besides is one more: `…[builtin-userns]`. Severities, areas and `slow` are marks: `-m "escape and not slow"`.

The harness is imported where it is first needed, for pytest loads this module also where no scenario is run. Only
public names of pytest are used.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError, ScenarioError
from harness.severities import SEVERITIES

if TYPE_CHECKING:
    from harness.language import Known
    from harness.launches import Case, Launches, Obstacle, Start
    from harness.results import Result, Results
    from harness.timing import RunClock, Timing

PROPERTY = "isoproof"
BEGUN = pytest.StashKey[float]()
CLOCK = pytest.StashKey["RunClock"]()


class CheckFailed(Exception):
    """A check that does not hold, or a proof that is none."""


class CheckError(Exception):
    """A check that could not be judged: there is no trustworthy observation."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("isoproof", "isolation of container runtimes (isoproof)")
    group.addoption(
        "--runtime",
        action="append",
        dest="runtimes",
        metavar="NAME",
        help="put this runtime under test; may be repeated (default: builtin)",
    )
    group.addoption("--prove", action="store_true", help="run every check under its sabotages too; it must go red")
    group.addoption("--reports", metavar="DIR", help="where results are written (default: reports/)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BEGUN] = time.monotonic()
    for severity, meaning in SEVERITIES.items():
        config.addinivalue_line("markers", f"{severity}: a check whose failure {meaning}")
    config.addinivalue_line("markers", "slow: a check that needs more than two seconds")
    if chosen := config.getoption("runtimes"):
        from harness import backends

        for name in chosen:
            if name not in backends.names():
                raise pytest.UsageError(f"--runtime {name}: no such runtime; there are {', '.join(backends.names())}")
    if not hasattr(config, "workerinput"):  # with xdist the controller writes the report
        config.pluginmanager.register(Recorder(config), "isoproof-recorder")


def clock(config: pytest.Config) -> RunClock:
    """The clock of this process, from when pytest was configured; made when the first scenario asks for it."""
    from harness.timing import RunClock

    if CLOCK not in config.stash:
        config.stash[CLOCK] = RunClock(config.stash[BEGUN])
    return config.stash[CLOCK]


def runtimes(config: pytest.Config) -> list[str]:
    """The runtimes under test, each once, in the order in which they were asked for."""
    return list(dict.fromkeys(config.getoption("runtimes") or ["builtin"]))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".yaml" and file_path.parent.name == "scenarios":
        return ScenarioFile.from_parent(parent, path=file_path)
    return None


class ScenarioFile(pytest.File):
    """A scenario; its items are its checks on each runtime, and with --prove their proofs."""

    def collect(self) -> list[CheckItem]:
        with clock(self.config).session("collect"):
            return list(self.checks())

    def checks(self) -> Iterator[CheckItem]:
        """Read the file and make its items."""
        from harness import scenario
        from harness.language import Known
        from harness.launches import Case

        area = self.path.stem
        self.config.addinivalue_line("markers", f"{area}: a check of {self.nodeid}")
        try:
            read = scenario.load(os.path.relpath(self.path))
            known: dict[str, Known] = {}
            for runtime in runtimes(self.config):
                findings = self.path.parent / "known" / f"{runtime}.yaml"
                known[runtime] = scenario.load_known(os.path.relpath(findings)) if findings.exists() else Known()
        except ScenarioError as error:
            raise self.CollectError(str(error)) from None
        for check in read.checks:
            for shaped, runtime in itertools.product(check.everywhere(), runtimes(self.config)):
                for knob in ["", *(shaped.sabotages if self.config.getoption("prove") else [])]:
                    yield CheckItem.of(self, Case(shaped, runtime, knob), known[runtime])


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
            path=file.nodeid,
            line=check.line,
            runtime=runtime,
            claim=check.claim,
            severity=check.severity,
            shape=check.shape,
        )
        for mark in (check.severity, file.path.stem, *(["slow"] if check.slow else [])):
            item.add_marker(mark)
        finding = known.fails.get(check.name)
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
        if not self.obstacle:
            self.judge(launches)
        elif not self.obstacle.declared and os.environ.get("ISOPROOF_MUST_RUN") == "1":
            self.note("error", f"ISOPROOF_MUST_RUN=1, but this cannot run here: {self.obstacle.reason}")
        else:
            pytest.skip(self.obstacle.reason)

    def judge(self, launches: Launches) -> None:
        from harness import environment, verdict

        try:
            answer, *twins = launches.answers(self.case)
        except HarnessError as error:
            self.note("error", str(error))
            return
        twin = twins[0] if twins else None
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
            outcome, reason = "fail", f"it holds, but scenarios/known/{result.runtime}.yaml says that it fails"
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


@pytest.fixture(scope="session")
def outer_sandbox(request: pytest.FixtureRequest) -> Iterator[Start]:
    """How an outer sandbox is started. Override it to carry runs out elsewhere, in a virtual machine for instance."""
    from harness import outer, rootfs

    @functools.cache
    def kit() -> Path:
        with clock(request.config).session("kit"):
            return rootfs.build_kit()

    with outer.Zygote() as zygote:
        yield lambda: outer.Outer(kit(), zygote)


@pytest.fixture(scope="session")
def launches(request: pytest.FixtureRequest, outer_sandbox: Start) -> Iterator[Launches]:
    """The launches of this session; what they have started ends with it, also when it is interrupted."""
    from harness.launches import Launches

    with clock(request.config).session("collect"):
        items = [item for item in request.session.items if isinstance(item, CheckItem)]
        shared = Launches(outer_sandbox, [item.case for item in items if not item.obstacle], clock(request.config))
    yield shared
    shared.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not isinstance(item, CheckItem):
        return (yield)
    with clock(item.config).item(item.result.area, bool(item.case.knob)):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if isinstance(item, CheckItem) and _decides(report):
        from harness.results import result_to_text

        entry = (PROPERTY, result_to_text(item.completed(report)))
        item.user_properties.append(entry)  # JUnit's report is made from those of the teardown
        report.user_properties.append(entry)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist, say where its time went: the controller has none of it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and CLOCK in session.config.stash:
        from harness.timing import timing_to_text

        output[PROPERTY] = timing_to_text(clock(session.config).timing())


def _decides(report: pytest.TestReport) -> bool:
    """Whether a report is the one that tells the outcome; there is one for each phase of an item."""
    return report.when == "call" or (report.when == "setup" and not report.passed)


class Recorder:
    """Gathers the results of a session, from the workers too, writes the reports and prints the matrix."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.timings: list[Timing] = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.entries: list[str] = []
        self.results: Results | None = None
        self.written = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if _decides(report):
            self.entries += [str(value) for name, value in report.user_properties if name == PROPERTY]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of pytest-xdist has said at its end."""
        from harness.timing import timing_from_text

        if text := getattr(node, "workeroutput", {}).get(PROPERTY):
            self.timings.append(timing_from_text(text))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.entries:
            return
        from harness import environment, report
        from harness.results import Results, Runtime, merge, result_from_text

        with clock(self.config).session("report"):
            self.results = Results(
                environment=environment.facts(),
                runtimes=[Runtime(*_version(name)) for name in runtimes(self.config)],
                results=merge([result_from_text(entry) for entry in self.entries]),
                started=self.started,
                milliseconds=round((time.monotonic() - self.config.stash[BEGUN]) * 1000, 3),
                timing=self.timing(),
            )
            directory = self.config.getoption("reports") or self.config.rootpath / "reports"
            try:
                paths = report.write_all(self.results, Path(directory))
                self.written = ", ".join(os.path.relpath(path) for path in paths)
            except OSError as error:
                self.written = (
                    f"not written: open {error.filename}: {error.strerror}; --reports DIR names another folder"
                )
                session.exitstatus = session.exitstatus or pytest.ExitCode.USAGE_ERROR
        self.results.timing = self.timing()  # for the terminal, which comes after the writing, and may count it

    def timing(self) -> Timing:
        """What the workers have counted; without any, what this process has."""
        from harness.timing import merged

        return merged(self.timings) if self.timings else clock(self.config).timing()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.results:
            return
        from harness.report import terminal

        terminalreporter.write_sep("=", "isolation")
        width = max(shutil.get_terminal_size().columns, terminal.WIDTH)
        for line in terminal.lines(self.results, width, brief=self.config.get_verbosity() < 0):
            for piece in line:
                terminalreporter.write(piece.text, **{piece.colour: True} if piece.colour else {})
            terminalreporter.write("\n")
        terminalreporter.write_line(f"reports: {self.written}")


def _version(runtime: str) -> tuple[str, str, str]:
    """Name and version of a runtime, or why it is missing."""
    from harness import backends

    backend = backends.load(runtime)
    missing = backend.available()
    return runtime, "" if missing else backend.version(), missing or ""
