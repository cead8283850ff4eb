"""The page of the ladder in a real browser: it opens by keyboard, anybody can use it, and nothing leaves the file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.ladder.added import added
from harness.ladder.rungs import RUNGS
from harness.report import _container
from harness.runtime.plan import CLONE
from tests.browser.chromium import Chromium, Page
from tests.browser.test_page import AXE
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
def page(request: pytest.FixtureRequest, browser: Chromium, path: Path) -> Iterator[Page]:
    """The page in some colours and some width; nothing may be in its console, and nothing been asked of the network."""
    scheme, width = request.param
    page = browser.open(path, prefers_color_scheme=scheme)
    page.resize(width, 900)
    yield page
    page.settle()
    assert page.complaints() == []
    assert page.requests() == [path.as_uri()]
    page.close()


def test_a_rung_opens_by_keyboard(page: Page) -> None:
    page.run("document.querySelector('.ladder summary').focus()")
    page.press("Enter", 13, "\r")
    assert page.run("document.querySelectorAll('.ladder details[open]').length") == 1
    assert page.run("document.querySelector('.rung').offsetHeight") > 0


def test_all_that_is_open_is_accessible_and_fits(page: Page) -> None:
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.run(AXE.read_text())
    found = page.run("axe.run({resultTypes: ['violations']}).then((done) => done.violations)")
    assert [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"][:3]] == []
    assert page.run("document.documentElement.scrollWidth") <= page.run("innerWidth")
