"""The reports of the benchmark: written whatever happens, and read by people."""

import json
import os
import re
from pathlib import Path

import pytest

from harness.bench import alive, concurrency, contenders, glance, launcher_size, page, record, runtimes, tables
from harness.bench.record import recorded
from harness.bench.sections import SECTIONS
from harness.bench.series import Benchmark, Contender, Round, Section, Series, Settings, from_json
from harness.errors import HarnessError

SETTINGS = Settings(rounds=20, gap_ms=5, warmup=2)


def rounds(first: int) -> list[Round | None]:
    return [Round(first * 1000 + at, first * 2000, 500_000, 1024) for at in range(20)]


def fill(found: Benchmark) -> None:
    found.contenders = {
        "floor": Contender("C", "12.2"),
        "runc": Contender("in <b>Go</b>", "1.1.5", "runc run 'a b'"),
        "crun": Contender("in C", "", absent="crun is not [installed](http://evil)"),
        "python": Contender("no container", "3.11"),
        "isoproof-run": Contender("our own", "0.1"),
    }
    found.sections["runtimes"] = Section(
        "Runtimes",
        "Who is the fastest?",
        {
            "floor": Series(rounds(1000)),
            "runc": Series([*rounds(20_000)[:-1], None], [(19, "exit status 1: <script>\x1b[31m")]),
            "python": Series([Round(None, 1_000_000)] * 20),
            "isoproof-run": Series(rounds(1000)),
        },
    )
    found.sections["pool"] = Section("Pool", "What does it cost?", {"pool-fill": Series([Round(clean=1_500_000)])})


def test_all_reports_are_written(tmp_path: Path) -> None:
    with recorded(tmp_path / "new", SETTINGS) as found:
        fill(found)
    read = from_json((tmp_path / "new" / "benchmark.json").read_bytes())
    assert read == found
    assert len(read.environment["load"]) == 2
    assert read.environment["cpu"]
    assert read.environment["machine"] == os.uname().machine
    assert (tmp_path / "new" / "benchmark.md").read_text() == tables.render(found)
    assert (tmp_path / "new" / "benchmark.html").read_text() == page.render(found)
    names = ["benchmark-rows.json", "benchmark.html", "benchmark.json", "benchmark.md"]
    assert sorted(os.listdir(tmp_path / "new")) == names


def test_what_was_found_before_a_failure_is_written(tmp_path: Path) -> None:
    def measure() -> None:
        with recorded(tmp_path, SETTINGS) as found:
            fill(found)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure()
    assert set(json.loads((tmp_path / "benchmark.json").read_text())["sections"]) == {"runtimes", "pool"}


def test_an_interruption_leaves_the_reports_of_the_last_run(tmp_path: Path) -> None:
    with recorded(tmp_path, SETTINGS) as found:
        fill(found)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path, SETTINGS):
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_place_that_takes_no_reports_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match=r"write to .*/below: Not a directory; --reports DIR names another"):
        with recorded(tmp_path / "file" / "below", SETTINGS):
            pytest.fail("it was measured")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n", "AMD EPYC"),
        ("processor : 0\nBogoMIPS : 50\n\nModel : Raspberry Pi 4\n", "Raspberry Pi 4"),
        ("", os.uname().machine),
    ],
)
def test_the_processor_has_a_name(text: str, name: str) -> None:
    assert record.processor(text) == name


@pytest.fixture
def report(tmp_path: Path) -> str:
    with recorded(tmp_path, SETTINGS) as found:
        fill(found)
    return (tmp_path / "benchmark.md").read_text()


def row(report: str, label: str, table: int = 0) -> list[str]:
    lines = re.findall(rf"^\| {label} +\|.*$", report, re.MULTILINE)
    return [cell.strip() for cell in lines[table].split("|")[2:-1]]


def test_people_see_percentiles_versions_and_failures(report: str) -> None:
    assert row(report, " ", 1) == ["p50", "p90", "p95", "p99", "max", "clean", "CPU", "memory", "failed", "version"]
    assert row(report, "runc") == [
        *("20.00", "20.00", "20.00", "20.00", "20.00", "40.00", "0.50", "1024", "5%", "1.1.5"),
    ]
    assert row(report, "python")[5:] == ["1.00", "", "", "", "3.11"]
    assert "20 rounds of each contender in turns, 5 ms before each start, after 2 rounds" in report


def test_people_see_ratios_and_what_may_be_chance(report: str) -> None:
    assert row(report, "times as long as") == ["floor", "runc"]
    assert row(report, "runc", 1) == ["20", "1"]
    assert row(report, "isoproof-run", 1) == ["≈ 1", "0.05"]


def test_where_nobody_else_is_there_nothing_is_a_ratio(tmp_path: Path) -> None:
    with recorded(tmp_path, SETTINGS) as found:
        fill(found)
    del found.sections["runtimes"].series["floor"], found.sections["runtimes"].series["runc"]
    shown = tables.shown("runtimes", found.sections["runtimes"], found)
    assert "times as long" not in shown
    assert "says so.\n\n- absent: crun" in shown


def test_people_see_at_a_glance_how_far_our_own_runtime_is(report: str) -> None:
    first = report.partition("## Runtimes")[0]
    assert row(first, "isoproof-run against python, to the end") == ["2.00", "1.00", "2", "at most 1.5: missed"]
    assert row(first, "isoproof-run against runc") == ["1.00", "20.00", "0.05", "at most 0.5"]
    assert row(first, "builtin against floor") == ["", "1.00", "", "at most 1.05"]
    assert not re.search("alive|at once|MB", first.partition("Medians")[0]), "their sections were not measured"


@pytest.mark.parametrize(
    ("own", "other", "times", "aim"),
    [
        (1040, "floor", "1.04", "at most 1.05"),
        (1100, "floor", "1.1", "at most 1.05: missed"),
        (1000, "floor", "≈ 1", "at most 1.05"),
        (450, "bubblewrap", "0.45", "at most 0.5"),
        (550, "bubblewrap", "0.55", "at most 0.5: missed"),
    ],
)
def test_people_see_which_aims_are_missed(own: int, other: str, times: str, aim: str) -> None:
    series = {"builtin": Series(rounds(own)), other: Series(rounds(1000))}
    found = glance.rows({"runtimes": Section("Runtimes", "Who?", series)})
    assert [f"builtin against {other}", f"{own / 1000:.2f}", "1.00", times, aim] in found


def test_what_may_be_chance_misses_no_aim() -> None:
    series = {"builtin": Series([Round(1), Round(9), Round(9)]), "floor": Series([Round(1), Round(1), Round(9)])}
    (_, found, *_) = glance.rows({"runtimes": Section("Runtimes", "Who?", series)})
    assert found[-2:] == ["≈ 9", "at most 1.05"]


def test_every_question_is_one_of_series_that_there_are() -> None:
    with contenders.place() as place:
        names = {make(place).name for make in runtimes.CONTENDERS}
    labels = {
        runtimes.NAME: names,
        "concurrency": {f"{concurrency.OURS}, {count} at once" for count in concurrency.COUNTS},
        "alive": {f"builtin, {level} alive" for level in alive.LEVELS},
        "launcher-size": {f"replay, {size} MB more" for size in launcher_size.SIZES},
    }
    assert set(labels) <= {runtimes.NAME, *SECTIONS}
    for question in glance.QUESTIONS:
        assert {question.label, question.other} <= labels[question.section]


def test_people_see_who_is_absent_and_who_failed_and_nothing_acts(report: str) -> None:
    assert "- absent: crun: crun is not \\[installed\\]\\(http&#58;//evil\\)" in report
    assert "- failed: runc: 1 of 20 starts, the last: exit status 1: &lt;script&gt;\\\\x1b\\[31m" in report
    assert "- runc: in &lt;b&gt;Go&lt;/b&gt;: `runc run 'a b'`" in report


def test_a_section_without_runtimes_has_only_the_columns_that_it_needs(report: str) -> None:
    assert row(report, "pool-fill") == ["1.50"]
    assert "What does it cost?" in report


def test_a_section_of_nothing_has_a_heading(tmp_path: Path) -> None:
    with recorded(tmp_path, SETTINGS) as found:
        found.sections["nothing"] = Section("Nothing", "Why is there none?")
    assert "Why is there none?" in (tmp_path / "benchmark.md").read_text()


def test_a_terminal_sees_the_same_without_markup(tmp_path: Path) -> None:
    with recorded(tmp_path, SETTINGS) as found:
        fill(found)
    shown = tables.shown("runtimes", found.sections["runtimes"], found)
    assert "exit status 1: <script>\\x1b[31m" in shown
    assert "\x1b" not in shown
    table = shown.partition("\n\n")[0].splitlines()
    assert len({len(line) for line in table}) == 1, "the columns do not stand below each other"
