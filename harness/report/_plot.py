"""The geometry of the pictures in a page: scales with their ticks, and where marks and labels stand.

Templates draw what is worked out here, so that every text in a picture is escaped like all others. Places are in
percent of a picture's width or height, to be used as they are in attributes of SVG, and in paths within a view box that
is 100 wide and 100 high: a picture is as wide as its reader has it, and its texts keep their size.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

FAR = 12.0  # the ratio of two values that are not told apart beside each other on a linear scale
DIGITS = (1, 2, 5)  # what round numbers begin with
MOST_TICKS = 11
MARGIN = 1.1  # of a logarithmic scale, so that no mark lies on the edge


@dataclass(frozen=True, slots=True)
class Scale:
    """From which value a picture is drawn to which, and whether each step is a factor (`logarithmic`) or not."""

    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Where a value is, in percent of the way from the lowest; what is beyond an end is at that end."""
        low, high, inside = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, inside = math.log(low), math.log(high), math.log(inside)
        return round(100 * (inside - low) / (high - low), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """The round values in it, as places and texts; no more of them than can be read."""
        values = list(self._powers() if self.logarithmic else self._multiples())
        return [(self.at(value), f"{value:.6g}") for value in values]

    def _powers(self) -> Iterator[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = [digit * 10.0**power for power in range(first, last + 1) for digit in DIGITS]
        inside = [value for value in every if self.low <= value <= self.high]
        if len(inside) > MOST_TICKS:
            inside = [10.0**power for power in range(first, last + 1) if self.low <= 10.0**power <= self.high]
        return iter(inside[:: math.ceil(len(inside) / MOST_TICKS) or 1])

    def _multiples(self) -> Iterator[float]:
        step = _round_above((self.high - self.low) / 5)
        return (number * step for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1))


def scale(values: Collection[float]) -> Scale:
    """The scale for some values: it begins at zero, or is logarithmic where they are far apart."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low > 0 and high / low > FAR:
        return Scale(low / MARGIN, high * MARGIN, logarithmic=True)
    return Scale(0.0, high * 1.04 or 1.0)


def _round_above(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next((digit * power for digit in DIGITS if digit * power >= value), 10 * power)


def spread(wanted: Sequence[float], gap: float, low: float = 0.0, high: float = 100.0) -> list[float]:
    """Where labels stand that are to be where they are wanted, in that order, and at least so far from each other.

    Where they would meet they make way to both sides alike; where there is no room they stand as far apart as can be.
    """
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    groups: list[tuple[float, int]] = []  # of labels that touch: the sum of where they would begin, and their number
    for place, index in enumerate(order):
        total, count = wanted[index] - place * gap, 1
        while groups and groups[-1][0] / groups[-1][1] >= total / count:
            more, members = groups.pop()
            total, count = total + more, count + members
        groups.append((total, count))
    begins = [total / count for total, count in groups for _ in range(count)]
    last = high - gap * max(0, len(wanted) - 1)
    found = [0.0] * len(wanted)
    for place, index in enumerate(order):
        found[index] = round(min(max(begins[place], low), max(last, low)) + place * gap, 2)
    return found


def thinned(values: Sequence[int], most: int) -> list[int]:
    """Values in their order, no more than so many: evenly taken, the least and the greatest among them."""
    ordered = sorted(values)
    if len(ordered) <= most:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]


def dots(places: Sequence[float], height: float) -> str:
    """The path of a dot at each place of a strip, up and down so that equal ones can be seen: lines of no length."""
    levels = (0, 4, -3, 2, -5, 5, -1, 3, -4, 1, -2)
    lift = 0.32 * height / 5
    return "".join(
        f"M{place:g} {round(height / 2 + levels[index % len(levels)] * lift, 1):g}h0"
        for index, place in enumerate(places)
    )


def rising(places: Sequence[float]) -> str:
    """The path of a cumulative distribution: at each of the places, which are in their order, as much higher."""
    found, count = f"M{places[0]:g} 100", len(places)
    for index, place in enumerate(places, 1):
        found += f"H{place:g}V{round(100 - 100 * index / count, 2):g}"
    return found
