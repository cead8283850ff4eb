"""A browser for the tests of this folder, by Playwright, and pages to open in it."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

try:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
    from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.name} is not installed: make test, or pip install --group browser") from None

from harness.report import html
from harness.results import Area, Outcome, Proof, Results
from tests.unit.test_report_html import ABOUT, many
from tests.unit.test_results import a_failure, a_result

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEADLINE = 20_000  # in milliseconds, for whatever is waited for: the machine may be busy

Open = Callable[..., Page]

expect.set_options(timeout=DEADLINE)


@pytest.fixture(scope="module")
def browser(missing: Callable[[str], NoReturn], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser of this machine, without a window.

    Each file has its own, which ends with the file: while Playwright lives, its event loop counts as the running one of
    this process, and other tests could have none.
    """
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        missing(f"no browser is installed: none of {', '.join(NAMES)}")
    home = str(tmp_path_factory.mktemp("browser"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", home)
        environment.setenv("TMPDIR", home)
        # At Ctrl-C it is pytest that ends the browser, by the lines below, and nobody before it.
        with (
            sync_playwright() as playwright,
            playwright.chromium.launch(executable_path=executable, handle_sigint=False) as browser,
        ):
            yield browser


def listen(context: BrowserContext) -> list[str]:
    """What the pages say in the console, violations of their policy among it, throw and ask for, from now on."""
    heard: list[str] = []
    context.on("console", lambda message: heard.append(f"console: {message.text}"))
    context.on("weberror", lambda error: heard.append(f"error: {error.error}"))
    context.on("request", lambda request: heard.append(f"request: {request.url}"))
    return heard


def settle(page: Page) -> None:
    """Wait until the page has been drawn."""
    page.wait_for_function("new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true))))")


@pytest.fixture
def open_file(browser: Browser) -> Iterator[Open]:
    """Opens a file as a page of some width, with options of `Browser.new_context`.

    After the test nothing may be in its console, and nothing been asked for but the file itself.
    """
    opened: list[tuple[Page, Path, list[str]]] = []

    def open_file(path: Path, width: int = 1440, **options: Any) -> Page:
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, is_mobile=width < 600, **options)  # type: ignore[arg-type]
        context.set_default_timeout(DEADLINE)
        heard = listen(context)
        page = context.new_page()
        page.goto(path.as_uri())
        opened.append((page, path, heard))
        return page

    yield open_file
    for page, path, heard in opened:
        settle(page)  # whatever is still to be asked for has been by then
        assert heard == [f"request: {path.as_uri()}"]
        page.context.close()


@pytest.fixture
def open_results(open_file: Open, tmp_path: Path) -> Open:
    """Opens results as a page: `open_results(results, width=360, color_scheme="dark")`."""
    numbers = itertools.count()

    def open_results(results: Results, **options: Any) -> Page:
        path = tmp_path / f"page {next(numbers)}.html"
        path.write_text(html.render(results))
        return open_file(path, **options)

    return open_results


def assert_accessible(page: Page) -> None:
    """Let axe-core look at what is to be seen now."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


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
    run.catalogue["uts"] = Area("Names", "Names would be shared.", {"uts-names": ABOUT})
    return run
