"""The page in a real browser: it is found, opened, filtered and printed as people do it, and nothing else happens."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.observation import Collector
from harness.report import html
from harness.results import Outcome, Result, Results
from harness.verdict import answers, judge
from tests.browser.chromium import Chromium, Page, ScriptError
from tests.browser.conftest import Open
from tests.unit.test_report_html import many
from tests.unit.test_results import a_result, some_results
from tests.unit.test_verdict import ANSWER, ENVIRONMENT, check

AXE = Path(__file__).parent / "axe.min.js"
TAB, ENTER = ("Tab", 9), ("Enter", 13, "\r")

ROWS = "[...document.querySelectorAll('tbody.checks > tr:not(.detail)')].filter((row) => row.offsetHeight)"
SEEN = f"{ROWS}.map((row) => row.id)"
FOUND = "document.getElementById('found').textContent"


def fill(page: Page, name: str, value: str) -> None:
    """Give a field of the filters a value, as a choice or a keystroke does."""
    page.run(f"document.getElementById({json.dumps(name)}).value = {json.dumps(value)}")
    page.run(f"document.getElementById({json.dumps(name)}).dispatchEvent(new Event('input', {{bubbles: true}}))")


def click(page: Page, selector: str) -> None:
    page.run(f"document.querySelector({json.dumps(selector)}).click()")


def text_of(page: Page, selector: str) -> str:
    return " ".join(page.run(f"document.querySelector({json.dumps(selector)}).innerText").split())


def test_areas_are_closed_until_they_are_opened(opened: Open, results: Results) -> None:
    page = opened(results)
    assert page.run(SEEN) == []
    click(page, "#area-uts button")
    assert page.run(SEEN) == ["uts-names", "uts-names[userns]"]
    click(page, "#open")
    assert len(page.run(SEEN)) == 32
    click(page, "#open")
    assert page.run(SEEN) == []


def test_filters_narrow_what_is_seen(opened: Open, results: Results) -> None:
    page = opened(results)
    fill(page, "search", "hostname own")
    assert (page.run(SEEN), page.run(FOUND)) == (["uts-names", "uts-names[userns]"], "2 of 32 rows")
    fill(page, "search", "no such check")
    assert (page.run(SEEN), page.run(FOUND)) == ([], "0 of 32 rows")
    fill(page, "search", "")
    assert (page.run(SEEN), page.run(FOUND)) == ([], "")
    fill(page, "verdict", "error")
    assert page.run(SEEN) == ["uts-names"]
    fill(page, "verdict", "differs")
    assert len(page.run(SEEN)) == 31
    fill(page, "area", "uts")
    assert page.run(SEEN) == ["uts-names"]
    fill(page, "severity", "escape")
    assert page.run(SEEN) == []
    click(page, "button[type=reset]")
    page.settle()
    assert (page.run(SEEN), page.run(FOUND)) == ([], "")


def test_runtimes_are_chosen_and_verdicts_are_looked_for_in_those_alone(opened: Open, results: Results) -> None:
    page = opened(results)
    headings = "[...document.querySelectorAll('.matrix thead th')]"
    columns = f"{headings}.filter((cell) => cell.offsetWidth).map((cell) => cell.innerText)"
    fill(page, "verdict", "error")
    click(page, "[data-choose=none]")
    assert (page.run(columns), page.run(SEEN)) == ([], [])
    for number, seen in ((0, []), (3, ["uts-names"])):  # the first passes, the fourth has the error
        click(page, f"#chooser input[value='{number}']")
        assert page.run(SEEN) == seen
    assert page.run(columns) == ["runtime-0", "runtime-3"]
    assert page.run(f"{ROWS}[0].querySelectorAll('td').length") == 13
    assert text_of(page, "#chooser summary") == "Runtimes: runtime-0, runtime-3"
    click(page, "[data-choose=all]")
    assert len(page.run(columns)) == 13


@pytest.mark.parametrize("leave", ["document.getElementById('open').click()", "Escape"])
def test_the_list_of_runtimes_closes_when_it_is_left(opened: Open, results: Results, leave: str) -> None:
    page = opened(results)
    click(page, "#chooser summary")
    page.run("document.querySelector('#chooser input').focus()")
    assert page.run("document.getElementById('chooser').open") is True
    if leave == "Escape":
        page.press("Escape", 27)
        assert page.run("document.activeElement.tagName") == "SUMMARY"
    else:
        page.run(leave)
    assert page.run("document.getElementById('chooser').open") is False


def test_a_check_is_found_and_opened_by_keyboard_alone(opened: Open, results: Results) -> None:
    page = opened(results)

    def tab_to(selector: str) -> None:
        for _ in range(120):
            if page.run(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            page.press(*TAB)
        pytest.fail(f"no tab leads to {selector}")

    page.press(*TAB)
    assert page.run("document.activeElement.innerText") == "Skip to the content"
    tab_to("#search")
    page.type("hostname")
    tab_to("#uts-names button")
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "false"
    page.press(*ENTER)
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    told = text_of(page, "#uts-names + .detail")
    assert "Why A host is no container Names would be shared." in told
    assert "Expected inside.a == host.a" in told
    assert "skip-ns=uts: Leave it out. skip-ns=uts: proven on runtime-0" in told
    assert "fail on runtime-1, runtime-6, runtime-11" in told
    assert "Does not hold, line 9: inside.identity.hostname != host.identity.hostname" in told
    assert "Inside inside.identity.hostname 'host' On the host, and asked for host.identity.hostname 'host'" in told
    assert "error on runtime-3, runtime-8 the reason of error" in told
    assert "pytest 'scenarios/uts.yaml::uts-names[runtime-1]' --runtime 'runtime-1'" in told
    assert page.run("document.querySelector('.detail a').href") == "https://man7.org/linux/man-pages/man2/uname.2.html"
    page.press(*ENTER)
    assert page.run("document.querySelector('.detail').offsetHeight") == 0


def test_a_link_to_a_check_opens_it(opened: Open, results: Results) -> None:
    page = opened(results)
    fill(page, "search", "no such check")
    page.run("location.hash = 'uts-names%5Buserns%5D'; 0")
    page.settle()
    assert "pass on runtime-0" in text_of(page, "[id='uts-names[userns]'] + .detail")
    assert page.run("document.activeElement.closest('tr').id") == "uts-names[userns]"


def test_a_link_to_a_check_that_has_no_container_of_its_own_opens_its_first(opened: Open) -> None:
    page = opened(
        some_results(a_result("uts-a", "xfail", shape="userns"), a_result("uts-b", "xfail", shape="uid-1000"))
    )
    click(page, "#findings summary")
    click(page, "#findings a[href='#uts-b']")
    page.settle()
    assert page.run("document.activeElement.closest('tr').id") == "uts-b[uid-1000]"


def test_without_the_script_the_answer_and_the_matrix_are_there(
    browser: Chromium, results: Results, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(html.render(results).replace("script-src 'sha256-", "script-src 'sha256-0"))
    page = browser.open(path)
    assert len(page.run(SEEN)) == 32
    assert page.run("document.getElementById('filters').offsetHeight") == 0
    assert "13 container runtimes were put to 31 checks" in text_of(page, "#answer")
    page.close()


def test_nothing_runs_that_the_policy_does_not_name(browser: Chromium, tmp_path: Path) -> None:
    """What makes it sure that a forgotten escape would be no attack; and that a complaint would be seen."""
    path = tmp_path / "page.html"
    evil = "<script>window.hacked = 1</script><img src='https://evil.example/x.png' onerror='window.hacked = 1'>"
    path.write_text(html.render(some_results(a_result())).replace("</main>", f"{evil}</main>"))
    page = browser.open(path)
    assert page.run("window.hacked === undefined")
    assert len([text for text in page.complaints() if "Content Security Policy" in text]) >= 2
    page.close()


def brightness(page: Page) -> float:
    """How bright the page's ground is, from 0 to 255."""
    colour = page.run("getComputedStyle(document.body).backgroundColor")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_it_is_dark_where_the_system_is_and_where_one_wants_it(opened: Open) -> None:
    results = some_results(a_result())
    assert brightness(opened(results, prefers_color_scheme="light")) > 200
    page = opened(results, prefers_color_scheme="dark")
    assert brightness(page) < 60
    click(page, "#theme")
    assert brightness(page) > 200
    click(page, "#theme")
    assert brightness(page) < 60


def test_it_prints_light_with_every_area_and_without_controls(opened: Open, results: Results) -> None:
    page = opened(results, prefers_color_scheme="dark")
    assert page.pdf().startswith(b"%PDF-")
    page.call("Emulation.setEmulatedMedia", media="print")
    assert len(page.run(SEEN)) == 32
    assert page.run("document.getElementById('filters').offsetHeight") == 0
    assert page.run("getComputedStyle(document.body).color") == "rgb(31, 32, 35)"


@pytest.mark.parametrize("width", [360, 700, 1024, 1440])
def test_it_fits_every_window(opened: Open, results: Results, width: int) -> None:
    page = opened(results)
    page.resize(width, 800)
    click(page, "#area-uts button")
    click(page, "#uts-names button")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.querySelector('.evidence').getBoundingClientRect().right") <= width


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 360)])
def test_it_is_accessible(opened: Open, results: Results, scheme: str, width: int) -> None:
    page = opened(results, prefers_color_scheme=scheme)
    page.resize(width, 900)
    for selector in ("#area-uts button", "#uts-names button", "#findings summary", "#chooser summary"):
        click(page, selector)
    page.run(AXE.read_text())
    found = page.run("axe.run({resultTypes: ['violations']}).then((done) => done.violations)")
    problems = [
        f"{each['id']}: {each['help']}: {node['html'][:160]} {node['failureSummary']}"
        for each in found
        for node in each["nodes"][:3]
    ]
    assert problems == []


def test_a_screen_reader_meets_a_table_with_words_for_verdicts(opened: Open) -> None:
    outcomes: list[Outcome] = ["pass", "fail", "xfail", "error", "skip"]
    page = opened(some_results(*(a_result(f"uts-{outcome}", outcome) for outcome in outcomes)))
    click(page, "#open")
    page.settle()
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert {"pass", "fail", "known", "error", "skip", "4 of 4 do not hold"} - set(named["cell"]) == {
        "4 of 4 do not hold"
    }
    assert "3 of 4 do not hold" in named["cell"]
    assert "builtin" in named["columnheader"]
    assert any(name.startswith("The hostname is its own") for name in named["rowheader"])


FILTER = """async (words) => {
  const field = document.getElementById("search");
  field.value = words;
  const begun = performance.now();
  field.dispatchEvent(new Event("input", {bubbles: true}));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - begun;
}"""


PAINT = """new Promise((done) => {
  const tell = (list) => done(list.getEntriesByName("first-contentful-paint")[0].startTime);
  new PerformanceObserver(tell).observe({type: "paint", buffered: true});
})"""


def test_it_is_soon_there_and_filters_at_once(opened: Open) -> None:
    """The best of several, for the machine may be busy."""
    paints, filters = [], []
    for _ in range(3):
        page = opened(many())
        paints.append(page.run(PAINT))
        click(page, "#open")
        for words in ("nobody", "9", "claim"):
            page.settle()
            filters.append(page.run(f"({FILTER})({json.dumps(words)})"))
    assert min(paints) < 1000
    assert [min(filters[at::3]) < 100 for at in range(3)] == [True] * 3


NONCE = "of this run"


def line(name: str, **facts: Any) -> bytes:
    return (
        json.dumps({"nonce": NONCE, "name": name, "probe": name, "facts": facts}, ensure_ascii=False).encode() + b"\n"
    )


SAID = {
    "HTML": line("init")
    + line("identity", hostname="</script></td><script>document.title = 'taken'</script><img src=x>"),
    "terminal escapes": line("init") + line("identity", hostname="\x1b]0;taken\x07\x1b[2J\u202e"),
    "100 MB": line("init") + line("identity", hostname="x" * 200_000) + b"x" * 100_000_000,
    "invalid UTF-8": line("init") + b'{"hostname": "\xff\xfe<script>"}\n',
    "another page": b"<!doctype html><title>taken</title><script>document.title = 'taken'</script>\n",
}


def result_of(said: bytes) -> Result:
    """What becomes of a container's output on its way to the page, by the harness's own steps."""
    collector = Collector(NONCE, ["identity"])
    for begin in range(0, len(said), 1 << 20):
        collector.feed(said[begin : begin + (1 << 20)])
    answer = ANSWER | {"inside": collector.finish()}
    judged = judge(check("inside.identity.hostname == config.hostname"), answer, ENVIRONMENT)
    seen = answers(check("inside.identity.hostname == config.hostname"), answer)
    more = {"failures": judged.failures, "answers": seen if judged.outcome == "pass" else []}
    return a_result("uts-hostile", judged.outcome, runtime="runc", reason=judged.reason, **more)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_what_a_container_prints_changes_nothing_but_its_own_cell(opened: Open, said: bytes) -> None:
    def shown(result: Result) -> tuple[Page, Any, list[str]]:
        page = opened(some_results(result, a_result("uts-other", "fail", runtime="runc"), a_result("uts-hostile")))
        click(page, "#open")
        click(page, "#uts-hostile button")
        tags = page.run("[...document.body.querySelectorAll(':not(.detail *)')].map((each) => each.tagName)")
        rows = page.run("[...document.querySelectorAll('#answer, #uts-other')].map((each) => each.textContent)")
        return page, rows, tags

    hostile = result_of(said)
    harmless = {"fail": line("init") + line("identity", hostname="a"), "error": line("init")}
    plain, plain_rows, plain_tags = shown(result_of(harmless[str(hostile.outcome)]))
    page, rows, tags = shown(hostile)
    assert (rows, tags) == (plain_rows, plain_tags)
    assert page.run("document.title") == plain.run("document.title")
    assert page.run("document.querySelectorAll('.detail img, .detail script').length") == 0
    told = page.run("document.querySelector('.detail').textContent")
    assert len(told) < 4000
    assert all(character.isprintable() for character in told)


def test_a_script_that_throws_is_noticed(opened: Open) -> None:
    page = opened(some_results(a_result()))
    with pytest.raises(ScriptError, match="nothing"):
        page.run("throw new Error('nothing')")
