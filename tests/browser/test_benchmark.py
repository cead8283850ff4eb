"""The page of the benchmark in a real browser: anybody can read it, in any width and colours, and nothing leaves it."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.bench import baseline, changes, page
from harness.bench.series import Section, Series
from tests.browser.chromium import Chromium, Page
from tests.browser.test_page import AXE
from tests.unit.test_bench_page import benchmark, series


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A page with every kind of picture, somebody who is absent, somebody who has failed, and what has changed."""
    found = benchmark()
    found.sections["runtimes"].series["podman"] = Series([None], [(0, f"exit status 125: {'x' * 300}")])
    labels = {label: series(1000 + at) for at, label in enumerate((*baseline.HELD, "yardstick", "python"))}
    labels["builtin"] = series(1000, rounds=30)  # too few for a verdict, and that is told
    found.sections[baseline.NAME] = Section("Baseline", "How long do our own starts take?", labels)
    path = tmp_path / "benchmark.html"
    path.write_text(page.render(found, changes.since(found, found)))
    return path


@pytest.fixture(params=[("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)], ids=str)
def opened(request: pytest.FixtureRequest, browser: Chromium, path: Path) -> Iterator[Page]:
    """The page in some colours and some width; nothing may be in its console, and nothing been asked of the network."""
    scheme, width = request.param
    opened = browser.open(path, prefers_color_scheme=scheme)
    opened.resize(width, 900)
    yield opened
    opened.settle()
    assert opened.complaints() == []
    assert opened.requests() == [path.as_uri()]
    opened.close()


def test_all_that_is_open_is_accessible_and_fits(opened: Page) -> None:
    opened.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    opened.run(AXE.read_text())
    found = opened.run("axe.run({resultTypes: ['violations']}).then((done) => done.violations)")
    assert [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"][:3]] == []
    assert opened.run("document.documentElement.scrollWidth") <= opened.run("innerWidth")


def test_labels_of_curves_and_lines_do_not_cover_each_other(opened: Page) -> None:
    """The labels of curves are slanted, so the places at which they begin are compared."""
    script = "[...document.querySelectorAll('{}')].map((each) => {}).sort((one, other) => one - other)"
    begins = opened.run(script.format(".curve > .leader", "each.x2.baseVal.value"))
    assert len(begins) == 15
    assert min(later - earlier for earlier, later in itertools.pairwise(begins)) > 10
    bottoms = opened.run(script.format(".names text", "each.getBoundingClientRect().bottom"))
    assert min(later - earlier for earlier, later in itertools.pairwise(bottoms)) > 12


def test_marks_lie_where_their_scale_says(opened: Page) -> None:
    """The strips are stretched to their place; the width of their lines is not."""
    script = """[...document.querySelectorAll('.strips:not(.changes) .strip')].map((strip) => {
      const box = strip.getBoundingClientRect(), median = strip.querySelector('.median').getBoundingClientRect();
      const at = parseFloat(strip.querySelector('.median').getAttribute('d').slice(1));
      return Math.abs((median.left + median.right) / 2 - box.left - box.width * at / 100);
    })"""
    found = opened.run(script)
    assert len(found) > 20
    assert max(found) < 2


def test_it_prints(opened: Page) -> None:
    assert opened.pdf().startswith(b"%PDF")
