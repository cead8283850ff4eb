"""A browser for the tests of this folder, and pages to open in it."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness.report import html
from harness.results import Area, Outcome, Proof, Results
from tests.browser.chromium import NAMES, Chromium, Page, find
from tests.unit.test_report_html import ABOUT, many
from tests.unit.test_results import a_failure, a_result

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser(missing: Callable[[str], NoReturn], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    executable = find()
    if executable is None:
        missing(f"no browser is installed: none of {', '.join(NAMES)}")
    chromium = Chromium(executable, tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()


@pytest.fixture
def opened(browser: Chromium, tmp_path: Path) -> Iterator[Open]:
    """Opens results as a page; after the test nothing may be in its console, and nothing been asked of the network."""
    pages: list[tuple[Page, Path]] = []

    def open_results(results: Results, **media: str) -> Page:
        path = tmp_path / f"page {len(pages)}.html"
        path.write_text(html.render(results))
        page = browser.open(path, **media)
        pages.append((page, path))
        return page

    yield open_results
    for page, path in pages:
        page.settle()  # whatever is still to be asked for has been by then
        assert page.complaints() == []
        assert page.requests() == [path.as_uri()]
        page.close()


@pytest.fixture(scope="session")
def results() -> Results:
    """A run of 31 checks on 13 runtimes, the last of which has every verdict, another shape, and proofs."""
    run = many(checks=30)
    claim = "The hostname is its own"
    told: dict[Outcome, dict[str, Any]] = {
        "pass": {"answers": [("inside.identity.hostname", "'cell'")]},
        "fail": {"failures": [a_failure()]},
        "xfail": {"failures": [a_failure()], "reason": "the reason of xfail"},
        "error": {"reason": "the reason of error"},
        "skip": {"reason": "the reason of skip"},
    }
    for runtime, outcome in zip(run.runtimes, itertools.cycle(told)):
        names: dict[str, Any] = {"runtime": runtime.name, "line": 500, "claim": claim}
        run.results.append(a_result("uts-names", outcome, **names, **told[outcome]))
        run.results.append(a_result("uts-names", shape="userns", **names))
    run.results[-26].proofs = [Proof("skip-ns=uts", "proven")]
    run.catalogue["uts"] = Area("Names", "", {"uts-names": ABOUT})
    return run
