"""The comparison of real starts: they do not differ from themselves, and what is blatantly slower is found."""

from collections.abc import Iterator

import pytest

from harness.bench import baseline, comparison, contenders, own
from harness.bench.comparison import Verdict
from harness.bench.series import Benchmark, Section, Settings
from harness.bench.yardstick import Yardstick
from harness.errors import HarnessError
from tests.kernel.bundles import snapshot
from tests.kernel.recording import measured, slowed

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

SETTINGS = Settings(rounds=comparison.LEAST, gap_ms=0, warmup=2)
THREE_TIMES = 350  # read-only paths more make a start take about three times as long
SLOW = "+200"
ATTEMPTS = 5  # to find the machine quiet enough for a verdict


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = snapshot()
    yield
    assert snapshot() == before


def measure(suffix: str = "") -> Benchmark:
    """Return a run in which builtin is what is slowed down, where there is a suffix; both are measured in turns."""
    found = measured(SETTINGS, (own.Builtin, Yardstick, slowed(own.Builtin, THREE_TIMES, SLOW))).series
    series = {"builtin": found[f"builtin{suffix}"], "yardstick": found["yardstick"]}
    return Benchmark("", 0, {}, SETTINGS, {}, {baseline.NAME: Section("", "", series)})


@pytest.mark.parametrize(("suffix", "expected"), [("", Verdict.SAME), (SLOW, Verdict.SLOWER)])
def test_a_blatant_slowdown_is_found_and_no_other(suffix: str, expected: Verdict) -> None:
    """On a machine that is busy for long there is no verdict; tests/unit holds that there is one often enough."""
    for _ in range(ATTEMPTS):
        [found] = comparison.compare(measure(), measure(suffix), lambda: measure(suffix))
        if found.verdict is not Verdict.NONE:
            break
    assert found.verdict in (expected, Verdict.NONE), found
    assert (found.reason.count("the machine was too busy") == 1) == (found.verdict is Verdict.NONE), found


def test_the_yardstick_tells_what_has_failed_and_measures_on() -> None:
    with contenders.place() as place:
        yardstick = Yardstick(place)
        clock = place.directory / "yardstick/rootfs/clock"
        with yardstick.ready():
            assert (first := yardstick.start().first)
            clock.rename(clock.with_name("gone"))
            with pytest.raises(HarnessError, match=r'\Aexecve\("/clock", .*\): ENOENT \(No such file or directory\)\Z'):
                yardstick.start()
            clock.with_name("gone").rename(clock)
            again = yardstick.start()
    assert again.clean
    assert 0 < first
    assert 0 < (again.first or 0) < again.clean
