"""The page in a real browser: it is found, opened, filtered and printed as people do it, and nothing else happens."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Locator, Page, expect

from harness.observation import Collector
from harness.report import html
from harness.results import Outcome, Result, Results, Runtime
from harness.verdict import answers, judge
from tests.browser.conftest import Open, assert_accessible, listen, settle
from tests.unit.test_report_html import many
from tests.unit.test_results import a_result, some_results
from tests.unit.test_verdict import ANSWER, ENVIRONMENT, check


def rows(page: Page) -> Locator:
    """The rows of checks that are not hidden."""
    return page.locator("tbody.checks > tr:not(.detail)").filter(visible=True)


def seen(page: Page) -> list[str]:
    """The names of these rows."""
    names: list[str] = rows(page).evaluate_all("(rows) => rows.map((row) => row.id)")
    return names


def columns(page: Page) -> Locator:
    """The headings of the runtimes that are not hidden."""
    return page.locator("table.matrix").get_by_role("columnheader")


def search(page: Page) -> Locator:
    return page.get_by_role("searchbox", name="Search")


def choice(page: Page, name: str) -> Locator:
    """A field of the filters that offers a choice."""
    return page.get_by_role("combobox", name=name)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def detail(page: Page, name: str) -> Locator:
    """What stands behind a row."""
    return page.locator(f"[id='{name}'] + .detail")


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def test_areas_are_closed_until_they_are_opened(open_results: Open, results: Results) -> None:
    page = open_results(results)
    assert seen(page) == []
    button(page, "uts").click()
    assert seen(page) == ["uts-names", "uts-names[userns]"]
    button(page, "Open all areas").click()
    expect(rows(page)).to_have_count(32)
    button(page, "Close all areas").click()
    assert seen(page) == []


def test_filters_narrow_what_is_seen(open_results: Open, results: Results) -> None:
    page = open_results(results)
    found = page.get_by_role("status")
    search(page).fill("hostname own")
    expect(found).to_have_text("2 of 32 rows")
    assert seen(page) == ["uts-names", "uts-names[userns]"]
    search(page).fill("no such check")
    expect(found).to_have_text("0 of 32 rows")
    assert seen(page) == []
    search(page).clear()
    expect(found).to_be_empty()
    assert seen(page) == []
    choice(page, "Verdict").select_option("error")
    assert seen(page) == ["uts-names"]
    choice(page, "Verdict").select_option("differs between runtimes")
    expect(rows(page)).to_have_count(31)
    choice(page, "Area").select_option("uts")
    assert seen(page) == ["uts-names"]
    choice(page, "Severity").select_option("escape")
    assert seen(page) == []
    button(page, "Clear").click()
    expect(found).to_be_empty()
    assert seen(page) == []


def test_runtimes_are_chosen_and_verdicts_are_looked_for_in_those_alone(open_results: Open, results: Results) -> None:
    page = open_results(results)
    choice(page, "Verdict").select_option("error")
    chooser = page.locator("#chooser summary")
    chooser.click()
    button(page, "none").click()
    expect(columns(page)).to_have_count(0)
    assert seen(page) == []
    page.get_by_label("runtime-0", exact=True).check()
    assert seen(page) == []  # it passes
    page.get_by_label("runtime-3", exact=True).check()
    assert seen(page) == ["uts-names"]  # it has the error
    expect(columns(page)).to_have_text(["runtime-0", "runtime-3"])
    expect(rows(page).locator("td")).to_have_count(13)
    expect(chooser).to_have_text("Runtimes: runtime-0, runtime-3")
    button(page, "all").click()
    expect(columns(page)).to_have_count(13)


@pytest.mark.parametrize("way", ["click elsewhere", "Escape"])
def test_the_list_of_runtimes_closes_when_it_is_left(open_results: Open, results: Results, way: str) -> None:
    page = open_results(results)
    chooser = page.locator("#chooser")
    chooser.locator("summary").click()
    page.get_by_label("runtime-0", exact=True).focus()
    expect(chooser).to_have_attribute("open", "")
    if way == "Escape":
        page.keyboard.press("Escape")
        expect(chooser.locator("summary")).to_be_focused()
    else:
        button(page, "Open all areas").click()
    expect(chooser).not_to_have_attribute("open", "")


def test_a_check_is_found_and_opened_by_keyboard_alone(open_results: Open, results: Results) -> None:
    page = open_results(results)

    def tab_to(wanted: Locator) -> None:
        for _ in range(120):
            if focused(page).and_(wanted).count():
                return
            page.keyboard.press("Tab")
        pytest.fail(f"no tab leads to {wanted}")

    page.keyboard.press("Tab")
    expect(focused(page)).to_have_text("Skip to the content")
    tab_to(search(page))
    page.keyboard.type("hostname")
    opens = button(page, "The hostname is its own")
    tab_to(opens)
    expect(opens).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(opens).to_have_attribute("aria-expanded", "true")
    for told in (
        "Why A host is no container Names would be shared.",
        "Expected inside.a == host.a",
        "skip-ns=uts: Leave it out. skip-ns=uts: proven on runtime-0",
        "fail on runtime-1, runtime-6, runtime-11",
        "Does not hold, line 9: inside.identity.hostname != host.identity.hostname",
        "Inside inside.identity.hostname 'host' On the host, and asked for host.identity.hostname 'host'",
        "error on runtime-3, runtime-8 the reason of error",
        "pytest 'scenarios/uts.yaml::uts-names[runtime-1]' --runtime 'runtime-1'",
    ):
        expect(detail(page, "uts-names")).to_contain_text(told, use_inner_text=True)
    link = detail(page, "uts-names").get_by_role("link").first
    expect(link).to_have_attribute("href", "https://man7.org/linux/man-pages/man2/uname.2.html")
    page.keyboard.press("Enter")
    expect(detail(page, "uts-names")).to_be_hidden()


def test_a_link_to_a_check_opens_it(open_results: Open, results: Results) -> None:
    page = open_results(results)
    search(page).fill("no such check")
    page.evaluate("location.hash = 'uts-names%5Buserns%5D'")
    expect(detail(page, "uts-names[userns]")).to_contain_text("pass on runtime-0")
    expect(page.locator("[id='uts-names[userns]'] button")).to_be_focused()


def test_a_mistyped_link_opens_nothing_and_breaks_nothing(open_results: Open, results: Results) -> None:
    page = open_results(results)
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.evaluate("location.hash = '%'")
    page.evaluate("location.hash = 'uts-names%5Buserns%5D'")
    expect(detail(page, "uts-names[userns]")).to_be_visible()
    assert not broken


def test_a_link_to_a_check_that_has_no_container_of_its_own_opens_its_first(open_results: Open) -> None:
    page = open_results(
        some_results(a_result("uts-a", "xfail", shape="userns"), a_result("uts-b", "xfail", shape="uid-1000"))
    )
    page.locator("#findings summary").click()
    page.get_by_role("link", name="uts-b").click()
    expect(page.locator("[id='uts-b[uid-1000]'] button")).to_be_focused()


def test_the_command_that_repeats_a_check_is_one_whatever_the_runtime_is_called(open_results: Open) -> None:
    name = "oci:/opt/it's $& {runtime}"
    run = some_results(a_result(runtime=name))
    run.runtimes = [Runtime(name, "1.0")]
    page = open_results(run)
    button(page, "uts").click()
    button(page, "The hostname is its own").click()
    command = detail(page, "uts-a").locator(".command").inner_text()
    assert shlex.split(command) == ["pytest", f"scenarios/uts.yaml::uts-a[{name}]", "--runtime", name]


def test_without_the_script_the_answer_and_the_matrix_are_there(
    browser: Browser, results: Results, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(html.render(results))
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        expect(rows(page)).to_have_count(32)
        expect(page.locator("#filters")).to_be_hidden()
        expect(page.locator("#answer")).to_contain_text("13 container runtimes were put to 31 checks")


def test_nothing_runs_that_the_policy_does_not_name(browser: Browser, tmp_path: Path) -> None:
    """What makes it sure that a forgotten escape would be no attack; and that a complaint would be seen."""
    path = tmp_path / "page.html"
    evil = "<script>window.hacked = 1</script><img src='https://evil.example/x.png' onerror='window.hacked = 1'>"
    path.write_text(html.render(some_results(a_result())).replace("</main>", f"{evil}</main>"))
    with browser.new_context() as context:
        heard = listen(context)
        page = context.new_page()
        page.goto(path.as_uri())
        settle(page)
        assert page.evaluate("window.hacked === undefined")
        assert len([text for text in heard if "Content Security Policy" in text]) >= 2


def test_what_a_page_says_throws_and_asks_for_is_heard(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<script>console.debug('a word')</script><script>throw Error('a cry')</script><img src=x.png>")
    with browser.new_context() as context:
        heard = listen(context)
        page = context.new_page()
        page.goto(path.as_uri())
        settle(page)
        for wanted in ("console: a word", "error: .*a cry", "request: .*/x.png"):
            assert [text for text in heard if re.fullmatch(wanted, text, re.DOTALL)]


def brightness(page: Page) -> float:
    """How bright the page's ground is, from 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_it_is_dark_where_the_system_is_and_where_one_wants_it(open_results: Open) -> None:
    results = some_results(a_result())
    assert brightness(open_results(results, color_scheme="light")) > 200
    page = open_results(results, color_scheme="dark")
    assert brightness(page) < 60
    button(page, "Change to light colours").click()
    assert brightness(page) > 200
    button(page, "Change to dark colours").click()
    assert brightness(page) < 60


def test_it_prints_light_with_every_area_and_without_controls(open_results: Open, results: Results) -> None:
    page = open_results(results, color_scheme="dark")
    assert page.pdf(print_background=True).startswith(b"%PDF-")
    page.emulate_media(media="print")
    expect(rows(page)).to_have_count(32)
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.locator("body")).to_have_css("color", "rgb(31, 32, 35)")


@pytest.mark.parametrize("width", [360, 700, 1024, 1440])
def test_it_fits_every_window(open_results: Open, results: Results, width: int) -> None:
    page = open_results(results, width=width)
    button(page, "uts").click()
    button(page, "The hostname is its own").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".evidence").evaluate("(each) => each.getBoundingClientRect().right") <= width


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 360)])
def test_it_is_accessible(open_results: Open, results: Results, scheme: str, width: int) -> None:
    page = open_results(results, width=width, color_scheme=scheme)
    button(page, "uts").click()
    button(page, "The hostname is its own").click()
    page.locator("#findings summary").click()
    page.locator("#chooser summary").click()
    assert_accessible(page)


def test_a_screen_reader_meets_a_table_with_words_for_verdicts(open_results: Open) -> None:
    """The browser is asked for what it tells a screen reader: Playwright's own roles do not depend on styles."""
    outcomes: list[Outcome] = ["pass", "fail", "xfail", "error", "skip"]
    page = open_results(some_results(*(a_result(f"uts-{outcome}", outcome) for outcome in outcomes)))
    button(page, "Open all areas").click()
    settle(page)
    named: dict[str, list[str]] = {}
    for node in page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]:
        if not node["ignored"]:
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert {"pass", "fail", "known", "error", "skip", "3 of 4 do not hold"} <= set(named["cell"])
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


def test_it_is_soon_there_and_filters_at_once(open_results: Open, request: pytest.FixtureRequest) -> None:
    """A filter lays the page out a few times, and not once for each of its 200 rows. How many milliseconds that takes
    is told (--junitxml) and not judged, for machines are busy.
    """
    page = open_results(many())
    took = {"first paint": page.evaluate(PAINT)}
    button(page, "Open all areas").click()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    for words in ("nobody", "9", "claim"):
        settle(page)
        before = layouts(session)
        took[f"filter {words}"] = page.evaluate(FILTER, words)
        assert layouts(session) - before <= 10
    request.node.user_properties += took.items()


def layouts(session: CDPSession) -> int:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return int(next(each["value"] for each in metrics if each["name"] == "LayoutCount"))


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
def test_what_a_container_prints_changes_nothing_but_its_own_cell(open_results: Open, said: bytes) -> None:
    def shown(result: Result) -> tuple[Page, list[str], list[str]]:
        others = (a_result("uts-other", "fail", runtime="runc"), a_result("uts-hostile"))
        page = open_results(some_results(result, *others))
        button(page, "Open all areas").click()
        page.locator("#uts-hostile button").click()
        rows = page.locator("#answer, #uts-other").all_text_contents()
        tags: list[str] = page.locator("body :not(.detail *)").evaluate_all("(all) => all.map((each) => each.tagName)")
        return page, rows, tags

    hostile = result_of(said)
    harmless = {"fail": line("init") + line("identity", hostname="a"), "error": line("init")}
    plain, plain_rows, plain_tags = shown(result_of(harmless[str(hostile.outcome)]))
    page, rows, tags = shown(hostile)
    assert (rows, tags) == (plain_rows, plain_tags)
    assert page.title() == plain.title()
    assert page.locator(".detail img, .detail script").count() == 0
    told = page.locator(".detail").text_content() or ""
    assert 0 < len(told) < 4000
    assert all(character.isprintable() for character in told)
