"""What the sections compare, their arithmetic and their tables: all that needs no container."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import elf
from harness.bench import cells, concurrency, features, layouts, namespaces, phases, tables
from harness.bench.contenders import NAME
from harness.bench.sections import SECTIONS
from harness.bench.series import Benchmark, Round, Section, Series, Settings
from harness.errors import HarnessError
from harness.runtime.config import read
from harness.runtime.fields import NAMESPACES
from harness.runtime.plan import explain, plan
from harness.runtime.spec import example
from harness.runtime.step import Hierarchy, Host, Plan
from harness.shapes import merged

CGROUPS = Hierarchy("/c", 2, frozenset({"memory", "pids", "cpu"}), "/c", "/c")
HOST = Host("isoproof-1", "/r", kernel=(6, 18), landlock=6, hierarchies=(CGROUPS,))
MS = 1_000_000


def series(*milliseconds: float, **more: float) -> Series:
    others = {key: round(value * MS) for key, value in more.items()}
    return Series([Round(first=round(one * MS), **others) for one in milliseconds])


def silent(_text: str) -> None:
    """Say nothing."""


def planned(patch: dict[str, Any]) -> str:
    config = example(0, 0)
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    return explain(plan(read(merged(config, patch)), HOST))


@pytest.mark.parametrize("name", features.changes(example(0, 0)))
def test_each_feature_changes_the_plan(name: str) -> None:
    assert planned(features.changes(example(0, 0))[name]) != planned({})


def test_no_two_features_are_the_same() -> None:
    changes = features.changes(example(0, 0))
    assert len({planned(patch) for patch in changes.values()}) == len(changes)


def test_the_namespaces_are_all_of_them_one_by_one_and_together() -> None:
    none, *single, everything = namespaces.variants().values()
    assert none == 0
    assert sorted(single) == sorted(NAMESPACES.values())
    assert everything == sum(single)


def test_a_bare_process_does_nothing_but_become_the_program() -> None:
    for flags in namespaces.variants().values():
        made = namespaces.bare(flags, Path("/clock"))
        assert made.flags == flags
        assert [[call.name for call in step.calls] for step in made.steps] == [["execve"]]
        assert made == Plan(flags, made.steps)


def test_a_batch_takes_as_long_as_its_last_divided_by_its_size() -> None:
    assert concurrency.per_container(1000, [1500, 5000, 2000, 3000], 9000) == Round(first=1000, clean=2000)
    assert concurrency.per_container(1000, [1500], 1800) == Round(first=500, clean=800)


def test_each_container_of_a_batch_has_a_name_of_its_own() -> None:
    command = ["runc", "--root", f"/tmp/{NAME}", "run", f"{NAME}-runc"]
    assert concurrency.numbered(command, 3) == ["runc", "--root", f"/tmp/{NAME}", "run", f"{NAME}-runc-3"]


@dataclass
class StandIn:
    """A container that writes what a clock would have written."""

    output: bytes
    config: dict[str, Any]
    status: int = 0
    pool: None = None

    def run(self, streams: tuple[int, int, int], deadline: float) -> int:
        os.write(streams[1], self.output)
        return self.status


@pytest.mark.parametrize("terminal", [False, True])
def test_a_time_is_the_same_through_a_terminal(terminal: bool) -> None:
    output = elf.TIMESPEC.pack(0x0D0A0A, 0x0A0D)
    stand_in = StandIn(output.replace(b"\n", b"\r\n") if terminal else output, {"process": {"terminal": terminal}})
    requested, first, ended, _ = cells.start(stand_in)  # type: ignore[arg-type]
    assert first == 0x0D0A0A * 1_000_000_000 + 0x0A0D
    assert requested < ended


def test_a_container_that_fails_or_says_nothing_has_no_time() -> None:
    with pytest.raises(HarnessError, match=r"^exit status 3$"):
        cells.start(StandIn(b"", {"process": {}}, 3))  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match="written nothing"):
        cells.start(StandIn(b"", {"process": {}}))  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [(5, 0, 9, 1), (5, 5, 9, 1), (5, 9, 9, 1), (5, 12, 9, 1)])
def test_a_start_whose_clock_cannot_be_right_has_no_time(times: tuple[int, int, int, int]) -> None:
    assert cells.Times(5, 6, 9, 1).durations == (1, 4, 1)
    with pytest.raises(HarnessError, match="the clock inside has told no time"):
        assert cells.Times(*times).durations


def rendered(name: str, section: Section) -> str:
    known = {"load": [1.0], "governor": None, "cpu": "", "cpus": 2}
    return tables.shown(name, section, Benchmark("", 0, known, Settings(1, 0, 0), {}, {}))


def row(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {label} "))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_phases_are_told_with_their_share() -> None:
    found = {"clone": series(0.5, 0.5), "one": series(0.125, 0.3), phases.WHOLE: series(0.7, 0.8)}
    text = rendered("phases", Section("Phases", "Where?", found, ["Words."]))
    assert row(text, "clone") == ["500.0", "500.0", "80.0%"]
    assert row(text, "one") == ["125.0", "300.0", "20.0%"]
    assert row(text, phases.WHOLE) == ["700.0", "800.0", ""]
    assert text.endswith("\n\nWords.")


def test_features_are_told_with_what_they_cost_more_than_the_default_by_the_same_executor() -> None:
    default, forked = f"{features.DEFAULT} (replay)", f"{features.DEFAULT} (forked)"
    found = {
        default: series(*[2.0] * 20, clean=3, cpu=1),
        forked: series(*[7.0] * 20),
        "with a (replay)": series(*[2.5] * 20),
        "with b (forked)": series(*[6.0] * 20),
        "with c (replay)": series(*[2.0] * 20),
        "with d (forked)": Series([None], [(0, "d <fails>")]),
    }
    text = rendered("features", Section("Features", "What?", found))
    assert row(text, default) == ["2.00", "2.00", "", "3.00", "1.00"]
    assert row(text, "with a (replay)") == ["2.50", "2.50", "+0.50", "", ""]
    assert row(text, "with b (forked)") == ["6.00", "6.00", "-1.00", "", ""]
    assert row(text, "with c (replay)") == ["2.00", "2.00", "≈ +0.00", "", ""]
    assert row(text, "with d (forked)") == [""] * 5
    assert "- failed: with d (forked): 1 of 1 starts, the last: d <fails>" in text


def test_without_the_default_nothing_is_told_to_cost_more() -> None:
    found = {"with a (replay)": series(2.5)}
    assert row(rendered("features", Section("Features", "What?", found)), "with a (replay)")[2] == ""


def test_batches_are_told_by_contender_and_size() -> None:
    found = {
        "builtin, 1 at once": series(2, 3),
        "runc, 1 at once": series(40, 50),
        "builtin, 32 at once": series(1, 1),
        "runc, 32 at once": Series([None], [(0, "too many")]),
    }
    text = rendered("concurrency", Section("Several at once", "How long?", found))
    assert row(text, "  ") == ["1 at once", "32 at once"]
    assert row(text, "builtin") == ["2.00 (3.00)", "1.00 (1.00)"]
    assert row(text, "runc") == ["40.00 (50.00)", ""]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_that_could_not_be_measured_says_so_and_nothing_else(name: str) -> None:
    assert rendered(name, Section("Title", "Question?", {}, ["Not measured."])) == "Not measured."


def test_every_layout_is_that_of_a_section() -> None:
    assert set(layouts.LAYOUTS) <= set(SECTIONS)
