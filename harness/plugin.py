"""The pytest plugin: scenario files become items, results become reports.

    pytest scenarios/                       every check on our own runtime
    pytest scenarios/ --runtime runc        on another one (repeat the option for several; all: those that are here)
    pytest scenarios/ --rootfs image.tar    in containers that begin with an image
    pytest scenarios/ --prove               besides, every check under each of its sabotages
    pytest scenarios/ --precision=compare   besides, every sabotage under the other checks

An item is a check on a runtime, `scenarios/uts.yaml::uts-ns-differs[builtin]`, or one of its proofs,
`…[builtin-skip-ns=uts]`, which passes only if the check goes red, and red by a verdict. A check that is made in another
shape besides is one more: `…[builtin-userns]`. A sabotage is one, too, `…::precision[builtin-skip-ns=uts]`, and passes
only if those checks go red of which that is recorded. Severities, areas and `slow` are marks: `-m "not slow"`.

The harness is imported where it is first needed, for pytest loads this module also where no scenario is run. Only
public names of pytest are used.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shutil
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import BadInput
from harness.items import ALL, BEGUN, CLOCK, CheckItem, KnobItem, ScenarioFile, clock, runtimes, scenario
from harness.severities import SEVERITIES

if TYPE_CHECKING:
    from harness.image import Image
    from harness.launches import Launches, Start
    from harness.results import Area, Result, Results
    from harness.timing import Timing

IMAGE = pytest.StashKey["Image"]()
PROPERTY = "isoproof"  # under which the result of a check travels to the process that writes the report
REACH = "isoproof-reach"  # the same for what a knob did


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("isoproof", "isolation of container runtimes (isoproof)")
    group.addoption(
        "--runtime",
        action="append",
        dest="runtimes",
        metavar="NAME",
        help="put this runtime under test, with options behind a colon (docker:as-shipped); may be repeated; "
        "all: those that are here, as asked and as shipped (default: builtin)",
    )
    group.addoption(
        "--rootfs",
        metavar="PATH",
        help="begin containers with this image: a directory, a tar archive, an OCI layout, what `docker save` writes",
    )
    group.addoption("--prove", action="store_true", help="run every check under its sabotages too; it must go red")
    group.addoption(
        "--precision",
        choices=("compare", "record"),
        help="prove, and turn each sabotage under other checks as well: fail where others go red than is recorded in "
        "tests/proof/expected.json (compare), or write that file anew (record)",
    )
    group.addoption(
        "--patience",
        type=_times,
        default=1.0,
        metavar="TIMES",
        help="give probes so many times as long before they count as hung, on a machine that is slow or emulated",
    )
    group.addoption("--reports", metavar="DIR", help="where results are written (default: reports/)")


def _times(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 1 <= float(text) <= 100:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BEGUN] = time.monotonic()
    for severity, meaning in SEVERITIES.items():
        config.addinivalue_line("markers", f"{severity}: a check whose failure {meaning}")
    config.addinivalue_line("markers", "slow: a check that needs more than two seconds")
    if chosen := config.getoption("runtimes"):
        from harness import backends

        for name in set(chosen) - {ALL}:
            try:
                backends.load(name)
            except BadInput as error:
                raise pytest.UsageError(f"--runtime {name}: {error}") from None
    if text := config.getoption("rootfs"):
        config.stash[IMAGE] = _image(text, whole=not hasattr(config, "workerinput"))
    if config.getoption("precision") and "builtin" not in runtimes(config):
        raise pytest.UsageError("--precision needs --runtime builtin, on which alone every sabotage can be turned")
    if not hasattr(config, "workerinput"):  # with xdist the controller writes the report
        config.pluginmanager.register(Recorder(config), "isoproof-recorder")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".yaml" and file_path.parent.name == "scenarios":
        if not file_path.name.isprintable():  # it would stand in every result, and pytest cannot write it down either
            said = f"{os.path.relpath(file_path)}:1:1: the name of the file is no text that can be printed"
            raise pytest.Collector.CollectError(str(BadInput(said)))
        return ScenarioFile.from_parent(parent, path=file_path)
    return None


@pytest.fixture(scope="session")
def outer_sandbox(request: pytest.FixtureRequest) -> Iterator[Start]:
    """How an outer sandbox is started. Override it to carry runs out elsewhere, in a virtual machine for instance."""
    from harness import outer, rootfs

    @functools.cache
    def kit() -> Path:
        with clock(request.config).session("kit"):
            return rootfs.build_kit()

    image = request.config.stash.get(IMAGE, None)
    with outer.Zygote() as zygote:
        yield lambda: outer.Outer(kit(), zygote, image)


@pytest.fixture(scope="session")
def launches(request: pytest.FixtureRequest, outer_sandbox: Start) -> Iterator[Launches]:
    """The launches of this session; what they have started ends with it, also when it is interrupted."""
    from harness.launches import Launches

    with clock(request.config).session("collect"):
        items = [item for item in request.session.items if isinstance(item, CheckItem)]
        cases = [item.case for item in items if not item.obstacle]
        shared = Launches(outer_sandbox, cases, clock(request.config), request.config.getoption("patience"))
    yield shared
    shared.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not isinstance(item, CheckItem | KnobItem):
        return (yield)
    proof = isinstance(item, KnobItem) or bool(item.case.knob)
    with clock(item.config).item(item.path.stem, proof):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if isinstance(item, CheckItem | KnobItem) and _decides(report):
        from harness.results import reach_to_text, result_to_text

        if isinstance(item, CheckItem):
            entry = (PROPERTY, result_to_text(item.completed(report)))
        elif item.reach:
            entry = (REACH, reach_to_text(item.reach))
        else:
            return report
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
        self.reaches: list[str] = []
        self.results: Results | None = None
        self.written = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if _decides(report):
            self.entries += [str(value) for name, value in report.user_properties if name == PROPERTY]
            self.reaches += [str(value) for name, value in report.user_properties if name == REACH]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of pytest-xdist has said at its end."""
        from harness.timing import timing_from_text

        if text := getattr(node, "workeroutput", {}).get(PROPERTY):
            self.timings.append(timing_from_text(text))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.entries and not self.reaches:
            return
        from harness import environment, report
        from harness.results import Results, Runtime, merge, reach_from_text, result_from_text

        with clock(self.config).session("report"):
            results = merge([result_from_text(entry) for entry in self.entries])
            self.results = Results(
                environment=environment.facts(),
                runtimes=[Runtime(*_version(name)) for name in runtimes(self.config)],
                results=results,
                started=self.started,
                milliseconds=round((time.monotonic() - self.config.stash[BEGUN]) * 1000, 3),
                timing=self.timing(),
                reaches=sorted(map(reach_from_text, self.reaches), key=lambda reach: reach.sabotage),
                catalogue=self.catalogue(results),
            )
            directory = self.config.getoption("reports") or self.config.rootpath / "reports"
            try:
                paths = report.write_all(self.results, Path(directory))
                if self.config.getoption("precision") == "record":
                    paths.append(self.record())
                self.written = ", ".join(os.path.relpath(path) for path in paths)
            except OSError as error:
                self.written = (
                    f"not written: open {error.filename}: {error.strerror}; --reports DIR names another folder"
                )
                session.exitstatus = session.exitstatus or pytest.ExitCode.USAGE_ERROR
        self.results.timing = self.timing()  # for the terminal, which comes after the writing, and may count it

    def record(self) -> Path:
        """Write down which checks each knob turned red, to be compared with from now on."""
        from harness import environment, precision
        from harness.scenario import load

        assert self.results
        path = self.config.rootpath / precision.RECORD
        scenarios = [load(file) for file in sorted((self.config.rootpath / "scenarios").glob("*.yaml"))]
        kind = precision.machine(environment.facts())
        precision.write(path, precision.renewed(precision.read(path), kind, self.results.reaches, scenarios))
        return path

    def catalogue(self, results: list[Result]) -> dict[str, Area]:
        """What the checks are about. With workers their files are read again here; who has broken one meanwhile
        loses what it says, and no result.
        """
        from harness import catalogue

        scenarios = []
        for path in dict.fromkeys(result.path for result in results):
            with contextlib.suppress(BadInput):
                scenarios.append(scenario(self.config, Path(path).absolute()))
        return catalogue.of(scenarios, {result.check for result in results})

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


def _image(text: str, whole: bool) -> Image:
    """Find the image of this session and have the environment tell of it; one that is none ends pytest."""
    from dataclasses import asdict

    from harness import environment, image, outer

    try:
        found = image.find(text, hidden=outer.OWN)
        if whole:
            image.check(found)
    except BadInput as error:
        pytest.exit(str(error), returncode=2)
    environment.IMAGE.update(asdict(found))
    return found


def _version(runtime: str) -> tuple[str, str, str]:
    """Name and version of a runtime, or why it is missing."""
    from harness import backends

    return runtime, backends.version(runtime), backends.load(runtime).available() or ""
