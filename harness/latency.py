"""The arithmetic of latencies: percentiles, and a comparison of two contenders.

Contenders take turns round by round (harness/bench/turns.py), because a machine drifts by more between two runs than
runtimes differ. Medians are compared, and only together with a rank test: with 100 rounds a median moves by 5 % one
time in ten when nothing changed.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

PERCENTILES = (50, 90, 95, 99)
SURE = 2.58  # standard deviations of a rank test, above which one alarm in a hundred is false


class Comparison(NamedTuple):
    """How two contenders differ: the ratio of their medians, and how surely their ranks do (in standard deviations)."""

    ratio: float
    deviations: float


def percentile(values: Sequence[int], share: int) -> int:
    """The smallest of the values that at least `share` per cent of them do not exceed (nearest rank)."""
    return sorted(values)[max(math.ceil(len(values) * share / 100), 1) - 1]


def summary(values: Sequence[int], unit: float = 1e6) -> dict[str, float]:
    """Minimum, percentiles and maximum, in units of so many of the values: milliseconds, if they are nanoseconds."""
    found = {"min": min(values), **{f"p{share}": percentile(values, share) for share in PERCENTILES}}
    return {name: value / unit for name, value in {**found, "max": max(values)}.items()}


def compare(first: Sequence[int], second: Sequence[int]) -> Comparison:
    """The first contender against the second: a ratio below 1 and negative deviations say that it is faster.

    The deviations are those of the Mann-Whitney rank test with its correction for ties; above 2.58 either
    way one false alarm in a hundred is left.
    """
    ratio = percentile(first, 50) / percentile(second, 50)
    ranked = sorted([*((value, 0) for value in first), *((value, 1) for value in second)])
    count, rank, rank_sum, ties = len(ranked), 1, 0.0, 0
    for _, group in groupby(ranked, key=lambda pair: pair[0]):
        owners = [owner for _, owner in group]
        rank_sum += owners.count(0) * (rank + (len(owners) - 1) / 2)
        ties += len(owners) ** 3 - len(owners)
        rank += len(owners)
    pairs = len(first) * len(second)
    excess = rank_sum - len(first) * (len(first) + 1) / 2 - pairs / 2
    variance = pairs / 12 * (count + 1 - ties / (count * (count - 1)))
    return Comparison(ratio, excess / math.sqrt(variance) if variance else 0.0)
