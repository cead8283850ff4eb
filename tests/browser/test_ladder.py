"""The page of the ladder in a real browser: it opens by keyboard, anybody can use it, and nothing leaves the file."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Page, expect

from harness.ladder.added import added
from harness.ladder.rungs import RUNGS
from harness.report import _container
from harness.runtime.plan import CLONE
from tests.browser.conftest import Open, assert_accessible
from tests.unit.test_ladder import evident, small

TIMES = {CLONE: 600.0, "pivot-root": 45.0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A page with every rung."""
    signs = {f"escape_{at}": "-" * at + "+" * (len(RUNGS) - at) for at in range(1, len(RUNGS))}
    ladder = evident(small(leak_a="-" + "+" * (len(RUNGS) - 1), escape_b="-" * (len(RUNGS) - 1) + "+", **signs))
    rungs = [replace(told, steps=steps) for told, (_, steps) in zip(ladder.rungs, added(), strict=True)]
    path = tmp_path / "ladder.html"
    path.write_text(_container.render(replace(ladder, rungs=rungs), TIMES, "Times are of yesterday."))
    return path


@pytest.fixture(params=[("light", 1440), ("dark", 1440), ("light", 360)], ids=str)
def page(request: pytest.FixtureRequest, open_file: Open, path: Path) -> Page:
    """The page in some colours and some width."""
    scheme, width = request.param
    return open_file(path, width=width, color_scheme=scheme)


def test_a_rung_opens_by_keyboard(page: Page) -> None:
    page.locator(".ladder summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".ladder details[open]")).to_have_count(1)
    expect(page.locator(".rung").first).to_be_visible()


def test_all_that_is_open_is_accessible_and_fits(page: Page) -> None:
    page.locator("details").evaluate_all("(all) => all.forEach((each) => { each.open = true; })")
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
