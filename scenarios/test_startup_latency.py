"""How long each runtime takes from the request to the first instruction inside, and until all is gone: `make bench`.

pytest-benchmark times our own runtime; in each of its rounds the others start the same program once, some before and
some after it and outside of what is timed, so that all contenders meet the same machine.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import backends, latency
from harness.bench import leavings, runtimes, tables
from harness.bench.progress import Progress
from harness.bench.record import recorded
from harness.bench.sections import SECTIONS
from harness.bench.series import Series
from harness.bench.starts import SETTINGS

pytest.importorskip("pytest_benchmark")

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

SLOWER = ("crun", "runc")
ENOUGH = 20  # rounds; a runtime that was given up before does not say who is faster


def test_startup_latency(
    benchmark: "BenchmarkFixture", pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    if not pytestconfig.getoption("benchmark_only"):
        pytest.skip("takes its time; ask for it with --benchmark-only, or by `make bench`")
    if missing := backends.load("builtin").available():
        pytest.skip(missing)
    directory = Path(pytestconfig.getoption("reports") or pytestconfig.rootpath / "reports")
    with leavings.ended_in_order(), capsys.disabled(), recorded(directory, SETTINGS) as found:
        progress = Progress(sys.stdout)
        print()
        with runtimes.contest(SETTINGS, progress) as contest:
            found.contenders = contest.told
            benchmark.pedantic(  # type: ignore[no-untyped-call]
                contest.turns.own,
                setup=contest.turns.before,
                teardown=contest.turns.after,
                rounds=SETTINGS.rounds,
                warmup_rounds=SETTINGS.warmup,
            )
            found.sections[runtimes.NAME] = contest.section()
        for name, measure in SECTIONS.items():
            found.sections[name] = measure(progress)
        progress.close()
        print(tables.shown(runtimes.NAME, found.sections[runtimes.NAME], found), end="\n\n")
        print(tables.shown_at_a_glance(found), f"The whole report: {directory / 'benchmark.md'}", sep="\n\n")
    series = found.sections[runtimes.NAME].series
    benchmark.extra_info.update({name: seen.summary("first") for name, seen in series.items()})
    absent = found.contenders[runtimes.OURS].absent
    assert not absent, f"our own runtime could not be made ready: {absent}"
    own = series[runtimes.OURS]
    assert not own.failures, f"our own runtime has failed: {own.failures[0][1]}"
    for name in SLOWER:
        assert_faster(own, series.get(name, Series()), name)


def assert_faster(own: Series, other: Series, name: str) -> None:
    """Demand that our own runtime is faster than another, if that was measured, and that it is no chance."""
    if len(other.values("first")) >= ENOUGH:
        ratio, deviations = latency.compare(own.values("first"), other.values("first"))
        assert ratio < 1, f"our own runtime has become slower than {name}"
        assert deviations < -latency.SURE, f"whether our own runtime is faster than {name} is within noise"
