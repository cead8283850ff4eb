"""The page of the benchmark: what it answers, for records whole and broken, and that nothing hostile is part of it."""

import random
import re
import time
from pathlib import Path

import pytest

from harness.bench import baseline, changes, page, phases, plots, record, report, runtimes
from harness.bench.layouts import LAYOUTS
from harness.bench.sections import SECTIONS
from harness.bench.series import Benchmark, Contender, Round, Section, Series, Settings, to_json
from harness.runtime.plan import CLONE
from tests.unit.test_report_html import EVIL, Structure

ENVIRONMENT = {
    "release": "6.1.0",
    "machine": "x86_64",
    "cpus": 2,
    "uid": 0,
    "rootless": False,
    "cgroup": {"memory": 2, "pids": 2, "cpu": 2, "writable": True},
    "lsms": ["landlock"],
    "python": "3.11.7",
    "versions": {"isoproof": "0.1"},
    "cpu": "AMD EPYC",
    "governor": None,
    "load": [0.5, 0.75],
}
TIMES = "\N{MULTIPLICATION SIGN}"
MEDIANS = {  # in microseconds; as they are told on a quiet machine
    "floor": 1540,
    "builtin": 1620,
    "builtin-pooled": 850,
    "builtin-forked": 6730,
    "isoproof-run": 13_910,
    "isoproof-run-first": 98_670,
    "posix_spawn": 210,
    "unshare": 1720,
    "bubblewrap": 3480,
    "crun": 28_970,
    "runc": 40_800,
    "runsc": 119_810,
    "nspawn": 55_730,
    "lxc": 13_290,
    "podman": 80_950,
    "docker": 186_680,
}


def series(microseconds: int, rounds: int = 100, seed: int = 1) -> Series:
    """Starts around a median, some of them much longer, as they are."""
    chance = random.Random(seed)
    values = [round(microseconds * 1000 * (1 + chance.expovariate(9))) for _ in range(rounds)]
    return Series([Round(value, round(value * 1.2)) for value in values])


def benchmark(rounds: int = 100) -> Benchmark:
    """A benchmark with a section of every kind."""
    contests = {label: series(median, rounds, number) for number, (label, median) in enumerate(MEDIANS.items())}
    steps = {phases.FIRST: 50, CLONE: 660, "open:/proc": 30, "open:/dev": 25, "umask": 1, "seccomp": 157}
    steps |= {phases.LAST: 100, phases.WHOLE: 1700}
    told = {
        runtimes.NAME: Section("Runtimes", "How long?", contests | {"python": Series([Round(None, 11_550_000)])}),
        phases.NAME: Section("Phases", "Which step?", {label: series(each, rounds) for label, each in steps.items()}),
        "namespaces": Section(
            "Namespaces",
            "What does each cost?",
            {"none": series(170, rounds), "network": series(690, rounds)},
            ["Nothing else is done in them."],
        ),
        "features": Section(
            "Features",
            "What does each feature cost?",
            {"the default config (replay)": series(1500, rounds), "with a hook (forked)": series(11_000, rounds)},
        ),
        "pool": Section("The pool", "How much faster?", {"pooled": series(800, rounds)}),
        "concurrency": Section(
            "Several at once",
            "How long does each take?",
            {f"{name}, {count} at once": series(1500 * count, rounds) for count in (1, 32) for name in ("runc", "lxc")},
        ),
        "empty": Section("Empty", "Is there nothing?", words=["Not measured: no start is replayed."]),
    }
    contenders = {label: Contender(f"what {label} is; a remark", "1.0", f"run {label}") for label in contests}
    contenders["youki"] = Contender("in Rust; a remark", "", absent="youki is not installed")
    settings = Settings(rounds, 5, 5)
    return Benchmark("2026-11-29T15:14:00+00:00", 212.0, ENVIRONMENT, settings, contenders, told)


def shown(found: Benchmark, since: changes.Changes | None = None) -> Structure:
    structure = Structure(page.render(found, since))
    values = [f"{tag} {name}={value}" for tag, name, value in structure.attributes if name != "aria-label"]
    assert [value for value in values if re.search(r"\b(nan|inf|None|Undefined)\b", value)] == []
    return structure


def test_a_stranger_sees_who_starts_how_fast_and_where_the_time_goes() -> None:
    text = shown(benchmark()).flat()
    assert re.search(r"floor the least that a start can take: .*? 1\.\d+ ms", text)
    assert re.search(rf"builtin isoproof's own runtime, .*? 1\.\d+ ms (≈ )?[\d.]+ {TIMES} the floor", text)
    assert re.search(r"unshare the fastest of the others: what unshare is +\d\.\d+ ms", text)
    assert re.search(rf"docker the slowest of the others: what docker is +\d+ ms 1[12]\d {TIMES} the floor", text)
    assert re.search(r"own start takes, clone is 6\d %, seccomp 1\d %, and execve to first instruction \d+ %", text)


def test_runtimes_stand_in_the_order_of_their_medians_and_who_has_none_comes_last() -> None:
    (strips,) = [each.strips for each in shown_sections(benchmark()) if each.name == runtimes.NAME]
    assert strips
    assert [row.label for row in strips.rows] == [*sorted(MEDIANS, key=lambda label: MEDIANS[label]), "python", "youki"]
    assert strips.columns == ["median", "p95", "p99", "times floor", "all gone"]
    rows = {row.label: row for row in strips.rows}
    assert rows["floor"].figures[3] == "1"
    assert rows["python"].what == "only its end is timed"
    assert rows["runc"].what == "what runc is"
    assert (rows["python"].strip, rows["python"].figures[4]) == (None, "11.55")
    assert rows["youki"].notes == ["absent: youki is not installed"]
    assert [rows[label].role for label in ("builtin", "floor", "runc")] == ["ours", "yardstick", "other"]
    assert rows["floor"].strip
    assert strips.guide == rows["floor"].strip.median


def shown_sections(found: Benchmark) -> list[page.Shown]:
    return [page.shown(name, section, found) for name, section in found.sections.items()]


def test_what_failed_is_told_beside_what_did_not() -> None:
    found = benchmark(20)
    found.sections[runtimes.NAME].series["runc"] = Series([None, *series(9, 19).rounds], [(0, "exit status 1: no")])
    found.sections[runtimes.NAME].series["podman"] = Series([None], [(0, "no such controller")])
    found.sections["concurrency"].series["runc, 32 at once"] = Series([None], [(0, "too many open files")])
    text = shown(found).flat()
    assert "failed: 1 of 20 starts, the last: exit status 1: no" in text
    assert "failed: 1 of 1 starts, the last: no such controller" in text
    assert "Failed: runc, 32 at once: 1 of 1 starts, the last: too many open files" in text
    assert "absent: youki is not installed" in text


def test_every_figure_of_a_picture_stands_in_a_table() -> None:
    found = benchmark()
    text = shown(found).flat()
    for section in found.sections.values():
        for label, each in section.series.items():
            if summary := each.summary("first"):
                form, times = (".1f", 1000) if section.title == "Phases" else (".2f", 1)
                assert format(summary["p95"] * times, form) in text, label


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_few_rounds_are_shown_as_far_as_they_go(rounds: int) -> None:
    shown(benchmark(rounds))


def test_identical_starts_are_shown() -> None:
    found = benchmark()
    for section in found.sections.values():
        for label in section.series:
            section.series[label] = Series([Round(1_000_000, 1_000_000)] * 100)
    assert f"≈ 1 {TIMES} the floor" in shown(found).flat()


def test_a_benchmark_that_found_nothing_is_a_page() -> None:
    found = benchmark()
    found.sections, found.contenders = {}, {}
    text = shown(found).flat()
    assert "How fast does a container start?" in text
    assert f"{TIMES} the floor" not in text


def test_without_a_floor_nothing_is_compared_with_it() -> None:
    found = benchmark()
    del found.sections[runtimes.NAME].series["floor"]
    text = shown(found).flat()
    assert f"{TIMES} floor" not in text
    assert f"{TIMES} the floor" not in text
    assert "the slowest of the others" in text


def test_phases_are_shown_where_no_runtimes_are() -> None:
    found = benchmark()
    del found.sections[runtimes.NAME]
    text = shown(found).flat()
    assert "Where does the time go?" in text
    assert "Which runtime starts how fast?" not in text


@pytest.mark.parametrize("hostile", EVIL)
def test_what_runtimes_say_is_no_part_of_the_page(hostile: str) -> None:
    def told(text: str) -> Structure:
        found = benchmark(2)
        found.environment = ENVIRONMENT | {"cpu": text, "governor": text, "lsms": [text], "versions": {text: text}}
        found.contenders = {
            "runc": Contender(text, text, text),
            "crun": Contender(text, "", absent=text),
            f"x{text}": Contender(text, text, text),
        }
        for section in found.sections.values():
            section.series |= {f"x{text}": series(5, 2), f"y{text}, 5 {text}": Series([None], [(0, text)])}
            section.words = [text]
            section.title = section.question = text
        return shown(found, changes.since(found, found))

    harmless, page_of = told("harmless"), told(hostile)
    assert page_of.tags == harmless.tags
    assert page_of.raw["script"] == harmless.raw["script"]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page_of.text)
    allowed = [value for tag, name, value in page_of.attributes if (tag, name) == ("a", "href")]
    assert all(value.startswith(("#", "https://man7.org/")) for value in allowed)
    assert not [name for _, name, _ in page_of.attributes if name == "style" or name.startswith("on")]


def test_the_page_is_small_and_soon_there() -> None:
    """However many rounds there were: it grows little, and takes some times as long as to write the file does."""
    for rounds in (1000, 4000):
        found = benchmark(rounds)
        begun = time.process_time()
        to_json(found)
        written = time.process_time()
        text = page.render(found)
        assert time.process_time() - written < 50 * (written - begun)
        assert len(text.encode()) < 1_000_000


def test_steps_of_one_kind_are_one_part_and_have_one_number_in_every_bar() -> None:
    whole = {CLONE: series(600, 1), "open:/proc": series(30, 1), "open:/dev": series(20, 1), "umask": series(1, 1)}
    pooled = {CLONE: series(100, 1), "open:/proc": series(30, 1), "ready": series(90, 1), phases.WHOLE: series(999, 1)}
    first, second = plots.bars([whole, pooled])
    assert [(part.number, part.label, len(part.steps)) for part in first] == [
        (1, CLONE, 1),
        (2, "open", 2),
        (0, plots.OTHERS, 1),
    ]
    assert [(part.number, part.label) for part in second] == [(1, CLONE), (2, "open"), (3, "ready")]
    assert sum(part.share for part in first) == pytest.approx(100)
    assert first[-1].begins + first[-1].width == pytest.approx(100, abs=0.05)
    assert second[-1].begins + second[-1].width < 40, "both bars have one scale"
    assert plots.bars([]) == []
    assert plots.bars([{}]) == [[]]


def test_lines_are_told_apart_without_colour() -> None:
    sizes = {f"{name}, {size} alive": series(size + 10, 3) for name in "abcde" for size in (0, 100, 1000)}
    found = plots.lines(sizes, ["b"])
    assert [text for _, text in found.sizes] == ["0", "100", "1000"]
    assert [at for at, _ in found.sizes] == [0, 10, 100]
    assert found.unit == "alive"
    assert len({(line.mark, line.dash) for line in found.lines}) == 5
    assert len({line.label_at for line in found.lines}) == 5
    assert {line.label: line.role for line in found.lines}["b"] == "other"


def test_what_is_compared_with_is_a_contender() -> None:
    names = {make.__name__ for make in baseline.MAKERS} | {make.__name__ for make in runtimes.CONTENDERS}
    assert {name.replace("_", "").lower() for name in plots.YARDSTICKS} <= {
        name.replace("_", "").lower() for name in names
    }
    assert LAYOUTS.keys() <= SECTIONS.keys()


def test_changes_have_verdicts_where_they_can_be_judged() -> None:
    then, now = benchmark(), benchmark()
    for run, median in ((then, 1500), (now, 3000)):
        labels = {label: series(1000) for label in (*baseline.HELD, "yardstick", "python")}
        run.sections[baseline.NAME] = Section("Baseline", "?", labels | {"builtin": series(median)})
    now.sections[runtimes.NAME].series["runc"] = series(20_000)
    text = shown(now, changes.since(then, now)).flat()
    assert re.search(r"builtin 1\.\d+ 3\.\d+ \+100\.0 % \+100\.0 % slower", text)
    assert re.search(r"isoproof-run [\d. ]+ \+0\.0 % \+0\.0 % no difference", text)
    assert re.search(r"runc 4\d\.\d+ 2\d\.\d+ -\d\d\.\d %", text)


def test_where_nothing_can_be_judged_that_is_said() -> None:
    then, now = benchmark(), benchmark()
    then.sections = {}
    text = shown(now, changes.since(then, now)).flat()
    assert "cannot be said: not both runs have measured them by themselves" in text


def store(path: Path, found: Benchmark) -> Path:
    path.write_text(to_json(found))
    return path


def test_a_stored_benchmark_is_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = store(tmp_path / "benchmark.json", benchmark())
    assert report.main([str(stored), "--since", str(stored), "--reports", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out/benchmark.html\n"
    found = record.read(stored)
    assert (tmp_path / "out/benchmark.html").read_text() == page.render(found, changes.since(found, found))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "benchmark-rows.json",
        "benchmark.html",
        "benchmark.md",
    ]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda found: found.environment.pop("load"), "its environment is not one of a benchmark: .*`load`"),
        (lambda found: found.environment.pop("cgroup"), "its environment is not one that isoproof has written"),
        (lambda found: found.environment.update(load=["x"]), "its environment is not one of a benchmark: .*load"),
        (lambda found: setattr(found, "format", 1), "benchmark format 1 is not 2"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: object, words: str
) -> None:
    found = benchmark(1)
    found.environment = dict(ENVIRONMENT)
    assert callable(edit)
    edit(found)
    stored = store(tmp_path / "benchmark.json", found)
    assert report.main([str(stored), "--reports", str(tmp_path)]) == 2
    assert re.fullmatch(rf"isoproof: .*{words}.*\n", capsys.readouterr().err)
    assert not (tmp_path / "benchmark.html").exists()


def test_runs_of_other_machines_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, there = benchmark(1), benchmark(1)
    there.environment = ENVIRONMENT | {"cpu": "another"}
    files = [store(tmp_path / name, found) for name, found in (("here", here), ("there", there))]
    assert report.main([str(files[0]), "--since", str(files[1]), "--reports", str(tmp_path)]) == 2
    assert "cannot be compared: its processor was 'another'" in capsys.readouterr().err
    assert report.main([str(tmp_path / "none"), "--reports", str(tmp_path)]) == 2
    assert "none: No such file or directory; a stored run is needed" in capsys.readouterr().err
