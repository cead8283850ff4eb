"""The page of the ladder: what it shows of each rung and of the plan, and that nothing hostile becomes part of it."""

import re
from pathlib import Path

from msgspec.structs import replace

from harness import report
from harness.ladder.record import Example, Ladder, ToldStep, to_json
from harness.report import _container
from harness.results import Failure
from harness.runtime.plan import CLONE
from tests.unit.test_ladder import small
from tests.unit.test_report_html import EVIL, Structure
from tests.unit.test_results import a_result, some_results

TIMES = {CLONE: 600.0, "hostname": 2.5, "pivot-root": 45.0}


def shown(ladder: Ladder) -> Structure:
    return Structure(_container.render(ladder, TIMES, "Times are of yesterday."))


def told(text: str) -> Ladder:
    """A ladder that says something wherever a container, an edited file or a scenario could."""
    ladder = small(leak_a="-+", escape_b="-+", leak_c="++")
    failure = Failure(text, text, 5, [(text, text)])
    first = replace(
        ladder.rungs[0],
        feature=text,
        title=text,
        why=text,
        flags=text,
        steps=[ToldStep(text, f"{text}: chroot(2)", [text])],
        example=Example("escape_b", [failure]),
    )
    checks = [replace(check, claim=text) for check in ladder.checks]
    return replace(ladder, rungs=[first, *ladder.rungs[1:]], checks=checks, skipped={"x": text})


def test_each_rung_shows_its_figures_and_what_is_open() -> None:
    page = shown(small(leak_a="-++", escape_b="--+", leak_c="+++"))
    figures = re.sub(r"\s+", " ", page.text)
    assert "feature 0 +1 1 of 3 hold; 1 escape open" in figures
    assert "feature 1 +1 2 of 3 hold; 1 escape open" in figures
    assert "feature 2 +1 3 of 3 hold" in figures
    assert [value for tag, name, value in page.attributes if tag == "rect" and name == "width"][:2] == ["0.0", "33.33"]


def test_evidence_is_shown_with_its_place() -> None:
    page = shown(told("inside.name"))
    assert "inside.name:5: inside.name" in page.text


def test_the_plan_has_every_step_with_its_calls_its_time_and_its_manual_page() -> None:
    parts = _container.planned(TIMES)
    steps = {step.name: step for part in parts for step in part.steps}
    assert steps["pivot-root"].calls == ['pivot_root(".", ".")']
    assert (steps["pivot-root"].time, steps["pivot-root"].share) == (45.0, 7.5)
    assert steps["umask"].time is None
    assert steps[CLONE].calls[0].startswith("clone3(CLONE_NEWNS|")
    assert ("uts_namespaces(7)", "https://man7.org/linux/man-pages/man7/uts_namespaces.7.html") in steps["hostname"].why
    for step in steps.values():
        sourced = any(address for _, address in step.why) or "runtime-spec" in step.why[0][0]
        assert sourced, step.name
    text = shown(small(leak_a="-+")).text
    assert "45.0 µs" in text
    assert "Times are of yesterday." in text


def test_a_text_is_whole_in_its_pieces() -> None:
    text = "all, even prctl(2) and PR_SET_DUMPABLE(2const): it calls(no) page(0)"
    pieces = _container.pieces(text)
    assert "".join(piece for piece, _ in pieces) == text
    assert [piece for piece, address in pieces if address] == ["prctl(2)", "PR_SET_DUMPABLE(2const)"]


def test_nothing_hostile_becomes_markup() -> None:
    """What looks like a manual page, `alert(1)`, leads to one, and nowhere else."""

    def tags(page: Structure) -> list[tuple[str, tuple[str, ...]]]:
        return [tag for tag in page.tags if tag[0] != "a"]

    good = shown(told("harmless"))
    for evil in EVIL:
        page = shown(told(evil))
        assert tags(page) == tags(good), evil
        links = {value for _, name, value in page.attributes if name == "href"}
        assert all(
            re.fullmatch(r"#[a-z]+|https://man7\.org/linux/man-pages/man\d/[\w.-]+\.html", link) for link in links
        )


def test_the_page_asks_the_network_for_nothing_and_runs_only_its_own_script() -> None:
    page = _container.render(small(leak_a="-+"), TIMES, "")
    assert "default-src 'none'" in page
    structure = Structure(page)
    assert not {"img", "link", "iframe", "object", "form"} & {tag for tag, _ in structure.tags}
    assert not [name for _, name, _ in structure.attributes if name.startswith("on") or name == "style"]


def test_the_ladder_that_lies_beside_the_results_is_a_section_of_the_page(tmp_path: Path) -> None:
    run = some_results(a_result())
    report.write_all(run, tmp_path)
    without = Structure((tmp_path / "isolation.html").read_text())
    assert "What does each kernel feature isolate?" not in without.flat()
    assert "What it takes to start a container" in without.flat()
    assert "No times are known: make bench measures them." in without.flat()
    (tmp_path / "ladder.json").write_text(to_json(small(leak_a="-+")))
    assert "What does each kernel feature isolate?" in Structure(report.tell("html", run, tmp_path)).flat()
    (tmp_path / "ladder.json").write_text("{")
    assert Structure(report.tell("html", run, tmp_path)).flat() == without.flat()
