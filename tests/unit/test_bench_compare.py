"""`make bench-compare` as a command: its exit status, its reports, and a line for whatever is wrong with its input."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness import environment
from harness.bench import baseline, compare, comparison, contenders, record, rows, turns
from harness.bench.comparison import Finding, Verdict
from harness.bench.series import Benchmark, Contender, Round, Section, Series, Settings, to_json

LABELS = [*baseline.HELD, "python", "yardstick"]


def run(builtin: int = 1_500_000, scatter: float = 0) -> Benchmark:
    """Return a run of this machine in which all rounds take a millisecond, but for those of builtin."""
    series = {label: Series([Round(1_000_000, 2_000_000)] * 100) for label in LABELS}
    series["builtin"] = Series([Round(round(builtin * (1 + scatter * (number % 4)))) for number in range(100)])
    contenders = {"builtin": Contender("our own", "0.1", "")}
    sections = {baseline.NAME: Section("Baseline", "How long?", series)}
    known = record.surroundings() | {"load": [0.0, 0.0]}
    return Benchmark("2026-01-01T00:00:00+00:00", 1.0, known, Settings(100, 5, 5), contenders, sections)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have these runs measured, one after the other, in the place of real ones."""

    def give(*runs: Benchmark) -> None:
        coming: Iterator[Benchmark] = iter(runs)
        monkeypatch.setattr(compare, "measured", lambda tell: next(coming))

    return give


def called(directory: Path, *words: str) -> int:
    return compare.main(["--base", str(directory / "old.json"), "--reports", str(directory / "reports"), *words])


def store(directory: Path, benchmark: Benchmark) -> None:
    (directory / "old.json").write_text(to_json(benchmark))


@pytest.mark.parametrize(
    ("now", "again", "status", "verdict"),
    [
        (run(), None, 0, "no difference"),
        (run(1_900_000), run(1_900_000), 1, "slower"),
        (run(1_900_000), run(), 0, "no difference"),
        (run(1_200_000), run(1_200_000), 0, "faster"),
        (run(scatter=0.5), run(scatter=0.5), 2, "cannot be compared"),
    ],
)
def test_the_exit_status_tells_the_verdict(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    measuring: Callable[..., None],
    now: Benchmark,
    again: Benchmark | None,
    status: int,
    verdict: str,
) -> None:
    store(tmp_path, run())
    measuring(*filter(None, [now, again]))
    assert called(tmp_path) == status
    shown = capsys.readouterr().out
    report = (tmp_path / "reports/benchmark-comparison.md").read_text()
    for text in (shown, report):
        line = next(line for line in text.splitlines() if line.startswith("| builtin "))
        assert [cell.strip() for cell in line.split("|")][2] == verdict
    assert ("- builtin cannot be compared: now: the machine was too busy" in report) == (status == 2)
    page = (tmp_path / "reports/benchmark-comparison.html").read_text()
    assert ("the machine was too busy" in page) == (status == 2)
    assert f">{verdict}\n" in page
    assert shown.endswith(f"What the figures mean: {tmp_path}/reports/benchmark-comparison.md\n")
    assert json.loads((tmp_path / "reports/benchmark-rows.json").read_text()) == rows.rows(now)


def test_what_is_slower_counts_more_than_what_nothing_can_be_said_of() -> None:
    slower, unknown, same = (Finding("x", verdict) for verdict in (Verdict.SLOWER, Verdict.NONE, Verdict.SAME))
    assert compare.status([same, unknown, slower]) == 1
    assert compare.status([same, unknown]) == 2
    assert compare.status([same]) == 0
    assert compare.status([]) == 2


def test_the_report_says_what_was_compared(tmp_path: Path, measuring: Callable[..., None]) -> None:
    store(tmp_path, run())
    measuring(run(3_000_000), run(2_250_000))
    called(tmp_path)
    report = (tmp_path / "reports/benchmark-comparison.md").read_text()
    figures = next(line for line in report.splitlines() if line.startswith("| builtin ")).split()
    assert " ".join(figures) == "| builtin | slower | 1.500 | 2.250 | 1.500 | 1.500 | +14.1 |"
    assert "Measured: 2026-01-01T00:00:00+00:00 and 2026-01-01T00:00:00+00:00." in report
    assert report.startswith("# Comparison")
    assert report.endswith(".\n")


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    told = json.loads(to_json(run()))
    change(told)
    return json.dumps(told)


def rounds_of(told: dict[str, Any], label: str) -> list[Any]:
    found: list[Any] = told["sections"][baseline.NAME]["series"][label]["rounds"]
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "old.json: No such file or directory; a stored run is needed, and `make bench` stores one"),
        ("", "not a benchmark of isoproof: Input data was truncated"),
        (to_json(run())[:5000], "not a benchmark of isoproof: Input data was truncated"),
        (edited(lambda told: told.update(format=1)), "benchmark format 1 is not 2"),
        (edited(lambda told: told.clear()), "benchmark format None is not 2"),
        (edited(lambda told: rounds_of(told, "builtin").append(None)), "failures and rounds of builtin in baseline do"),
        (edited(lambda told: rounds_of(told, "builtin").append({"first": -1})), "not a benchmark of isoproof"),
        (edited(lambda told: rounds_of(told, "yardstick")[0].update(first=0)), "not a benchmark of isoproof"),
        (edited(lambda told: rounds_of(told, "yardstick")[0].update(first=10**400)), "not a benchmark of isoproof"),
        ("[]", "not a benchmark of isoproof"),
        (edited(lambda told: told["sections"].clear()), "no section baseline is in it"),
        (edited(lambda told: told["environment"].update(cpu="another")), "its processor was 'another', and is "),
        (edited(lambda told: told["environment"].update(release="1.0")), "its kernel was '1.0', and is "),
        (
            edited(lambda told: told["environment"].pop("release")),
            "its environment is not one that isoproof has written",
        ),
        (edited(lambda told: told["environment"].update(baseline="0")), "its benchmark was '0', and is "),
    ],
)
def test_bad_input_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measuring: Callable[..., None], text: str | None, words: str
) -> None:
    measuring()  # nothing: it must not come to that
    if text is not None:
        (tmp_path / "old.json").write_text(text)
    assert called(tmp_path) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("isoproof: ")
    assert words in told.err
    assert told.err.count("\n") == 1


def test_where_no_report_can_be_written_nothing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measuring: Callable[..., None]
) -> None:
    measuring()
    store(tmp_path, run())
    (tmp_path / "reports").write_text("")
    assert called(tmp_path) == 2
    assert "--reports DIR names another folder" in capsys.readouterr().err


def test_rows_are_of_the_documented_form() -> None:
    found = rows.rows(run())
    names = [row["name"] for row in found]
    assert len(set(names)) == len(names) == 3 * len(LABELS) - 1  # builtin has no clean here
    for row in found:
        assert set(row) == {"name", "unit", "value", "range", "extra"}
        assert all(isinstance(row[key], str) for key in ("name", "unit", "range", "extra"))
        assert isinstance(row["value"], float)
    assert found[0] == {
        "name": "baseline: builtin: first instruction, p50",
        "unit": "ms",
        "value": 1.5,
        "range": "1.500 to 1.500",
        "extra": f"version 0.1\n100 rounds\n{_machine()}",
    }
    assert json.loads(rows.to_json(run())) == found


def _machine() -> str:
    known = environment.facts()
    return f"Linux {known['release']} {known['machine']}, {record.processor()}"


def test_rows_are_those_of_contenders_alone() -> None:
    other = run()
    other.sections = {"pool": Section("", "", {"fill": Series([Round(clean=1)])})}
    assert rows.rows(other) == []


def test_what_was_stored_is_what_is_measured_now() -> None:
    first = baseline.identity()
    assert first == baseline.identity()
    assert set(comparison.MACHINE) <= set(record.surroundings())


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (baseline, "MAKERS", baseline.MAKERS[1:]),
        (baseline, "SETTINGS", Settings(100, 6, 5)),
        (contenders, "asked", dict),
        (turns, "orders", lambda labels: iter([sorted(labels)] * 2)),
        (baseline, "calls", lambda root, output: ()),
    ],
)
def test_what_is_measured_otherwise_is_something_else(
    monkeypatch: pytest.MonkeyPatch, where: ModuleType, name: str, value: object
) -> None:
    first = baseline.identity()
    monkeypatch.setattr(where, name, value)
    assert baseline.identity() != first
