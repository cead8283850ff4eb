"""Whether starts take longer than in a stored run: a verdict that does not cry wolf.

Between two runs a machine changes by a tenth and more, and so do all starts. So each run is held against its own
yardstick (harness/bench/baseline.py): what is compared are its rounds as shares of what the yardstick took. A
difference counts if their medians are a tenth apart and a rank test says that this is no chance, and if both is so
again in a second measurement. A machine that is so busy that rounds differ among themselves by more than what is to be
found gives no verdict: nothing is not the same as no difference.
"""

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness import latency
from harness.bench import baseline
from harness.bench.series import Benchmark, Quantity, Series
from harness.bench.yardstick import Yardstick
from harness.errors import BadInput

THRESHOLD = 1.10
SCATTER = 1.3  # the most by which the quartiles of a run may be apart
LEAST = 50  # rounds; with fewer, medians move by more than what is to be told apart
FAILED = 0.05  # the most of a run that may have failed
UNIT = 1_000_000  # of the ratios, so that they are integers
MACHINE = {  # what must be the same in both runs, and what it is called
    "cpu": "processor",
    "cpus": "number of processors",
    "machine": "architecture",
    "release": "kernel",
    "uid": "user",
    "cgroup": "control groups",
    "lsms": "security modules",
    "governor": "frequency governor",
    "python": "Python",
    "baseline": "benchmark",
}


class Verdict(enum.StrEnum):
    """What is said of one series; the words stand in reports."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "no difference"
    NONE = "cannot be compared"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of one series, and why.

    `then` and `now` are medians of the first instruction in milliseconds and `ratio` that of the two; `held` is the
    ratio of the medians of what was held against the yardstick, and `deviations` say how sure it is. `reason` is why
    there is no verdict; it is `lasting` where another measurement would not change it.
    """

    label: str
    verdict: Verdict
    then: float | None = None
    now: float | None = None
    held: float | None = None
    deviations: float | None = None
    reason: str = ""
    lasting: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times as long it takes now, whatever the yardstick says."""
        return self.now / self.then if self.now and self.then else None


def check_machine(then: Mapping[str, Any], now: Mapping[str, Any], path: str) -> None:
    """Refuse to compare runs of different machines, kernels or configurations. Raises BadInput."""
    for key, words in MACHINE.items():
        if then.get(key) != now.get(key):
            raise BadInput(
                f"{path}: cannot be compared: its {words} was {then.get(key)!r}, and is {now.get(key)!r} here; "
                "store another run by `make bench`"
            )


def compare(then: Benchmark, now: Benchmark, again: Callable[[], Benchmark]) -> list[Finding]:
    """Compare a stored run with one of now, which is measured again where something seems to have changed."""
    findings = judged(then, now)
    if all(finding.verdict is Verdict.SAME or finding.lasting for finding in findings):
        return findings
    confirming = {finding.label: finding for finding in judged(then, again())}
    return [confirmed(finding, confirming.get(finding.label, finding)) for finding in findings]


def judged(then: Benchmark, now: Benchmark) -> list[Finding]:
    """Say of each series what these two runs alone say of it; of one that neither has there is nothing to say."""
    labels = [label for label in baseline.HELD if _series(then, label).rounds or _series(now, label).rounds]
    return [_judged(label, then, now) for label in labels]


def _judged(label: str, then: Benchmark, now: Benchmark) -> Finding:
    found = Finding(label, Verdict.NONE, _median(_series(then, label)), _median(_series(now, label)))
    for run, words in ((then, "then"), (now, "now")):
        if trouble := _trouble(run, label):
            return replace(found, reason=f"{words}: {trouble}", lasting=run is then)
    held, deviations = latency.compare(held_rounds(now, label), held_rounds(then, label))
    verdict = Verdict.SAME
    if held > THRESHOLD and deviations > latency.SURE:
        verdict = Verdict.SLOWER
    elif held < 1 / THRESHOLD and deviations < -latency.SURE:
        verdict = Verdict.FASTER
    return replace(found, verdict=verdict, held=held, deviations=deviations)


def confirmed(first: Finding, second: Finding) -> Finding:
    """Say what two measurements say together: an alarm takes both, to be at rest one of them is enough."""
    if first.verdict is second.verdict:
        return min(first, second, key=lambda finding: abs(math.log(finding.held or 1)))
    for verdict in (Verdict.SAME, Verdict.NONE):
        for finding in (first, second):
            if finding.verdict is verdict:
                return finding
    return replace(second, verdict=Verdict.SAME)  # slower once, and faster once


def held_rounds(run: Benchmark, label: str) -> list[int]:
    """Return of each round what it took as a share of what the yardstick took in this run, in millionths."""
    held = baseline.HELD[label]
    usual = latency.percentile(_series(run, held.yardstick).values(held.quantity), 50)
    return [round(value * UNIT / usual) for value in _series(run, label).values("first")]


def _trouble(run: Benchmark, label: str) -> str | None:
    """Return why nothing can be said of a series of a run, or None."""
    held = baseline.HELD[label]
    compared: tuple[tuple[str, Quantity], ...] = ((label, "first"), (held.yardstick, held.quantity))
    for name, quantity in compared:
        series = _series(run, name)
        if not series.rounds:
            who = run.contenders.get(name)
            return f"{name} was not measured{f': {who.absent}' if who and who.absent else ''}"
        if series.failed > FAILED:
            return f"{series.failed:.0%} of the starts of {name} failed, the last: {series.failures[-1][1]}"
        if (count := len(series.values(quantity))) < LEAST:
            return f"only {count} rounds of {name}, and it takes {LEAST}"
    for name in (label, Yardstick.name):  # for in what takes long by itself, a busy machine does not show
        values = _series(run, name).values("first")
        apart = latency.percentile(values, 75) / latency.percentile(values, 25) if values else 1
        if apart > SCATTER:
            rounds = f"a quarter of the rounds of {name} took {apart:.1f} times as long as another"
            return f"the machine was too busy: {rounds}; measure again when it is quiet"
    return None


def _series(run: Benchmark, label: str) -> Series:
    return run.sections[baseline.NAME].series.get(label, Series())


def _median(series: Series) -> float | None:
    summary = series.summary("first")
    return summary["p50"] if summary else None
