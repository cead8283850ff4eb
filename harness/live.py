"""The live line of a long run: what is going on, below pytest's dots."""

import contextlib
import os
from collections.abc import Generator, Iterator
from typing import TextIO

import pytest

from harness.bench.progress import LineBelow
from harness.items import CheckItem, KnobItem
from harness.results import one_line


def is_wanted(config: pytest.Config) -> bool:
    """Whether a person who sits at a terminal sees pytest's dots there, and nothing between them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return (
        type(reporter) is pytest.TerminalReporter  # others have a picture of their own
        and os.environ.get("TERM", "dumb") != "dumb"
        and not os.environ.get("CI")
        and config.get_verbosity() == 0
        and config.getoption("capture") in ("fd", "sys")
        and not (config.getoption("usepdb") or config.getoption("trace"))
        and not hasattr(config, "workerinput")
    )


class LiveLine:
    """Says below pytest's dots how many checks of how many are made, how many have failed, and which is made now.

    With workers it is the one that has been at it for the longest. The dots are pytest's: the line is away whenever
    it writes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.line = LineBelow(stream)
        self.total = 0
        self.made = 0
        self.failed: set[str] = set()
        self.running: dict[str, None] = {}  # a dict for its order

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        self.line.close()
        yield
        if self.running:
            failed = f", {len(self.failed)} failed" if self.failed else ""
            now = one_line(next(iter(self.running)).rpartition("::")[2])
            self.line(f"{self.made} of {self.total} made{failed}, now {now}")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.total = sum(isinstance(item, CheckItem | KnobItem) for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.total = sum(map(_is_check, ids))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> Generator[None]:
        if _is_check(nodeid):
            self.running[nodeid] = None
        with self.away():
            yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        if report.failed and _is_check(report.nodeid):
            self.failed.add(report.nodeid)
        if report.when not in ("setup", "call"):  # the last of it, or the end of its worker
            self.made += self.running.pop(report.nodeid, self) is None
        if report.when != "setup" or not report.passed:  # of which pytest writes nothing
            self.line.close()
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None]:
        with self.away():
            yield

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_testnodedown(self) -> None:
        self.line.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self) -> None:
        self.line.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self.running.clear()
        self.line.close()


def _is_check(nodeid: str) -> bool:
    return ".yaml::" in nodeid
