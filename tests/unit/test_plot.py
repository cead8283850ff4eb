"""The geometry of pictures: scales that hold for any values, labels that do not cover each other, paths."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report._plot import Scale, dots, rising, scale, spread, thinned

positive = st.floats(min_value=1e-6, max_value=1e10, allow_nan=False)


@pytest.mark.parametrize(
    ("values", "logarithmic", "ticks"),
    [
        ([0.2, 190], True, ["0.2", "0.5", "1", "2", "5", "10", "20", "50", "100", "200"]),
        ([1.5, 2.3], False, ["0", "0.5", "1", "1.5", "2"]),
        ([7, 7, 7], False, ["0", "2", "4", "6"]),
        ([0.001, 1_000_000], True, ["0.001", "0.01", "0.1", "1", "10", "100", "1000", "10000", "100000", "1e+06"]),
        ([0, 0], False, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([], False, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_a_scale_is_logarithmic_where_values_are_far_apart(
    values: list[float], logarithmic: bool, ticks: list[str]
) -> None:
    found = scale(values)
    assert found.logarithmic == logarithmic
    assert [text for _, text in found.ticks()] == ticks


@given(st.lists(positive, min_size=1, max_size=20))
def test_every_value_has_its_place_in_their_order(values: list[float]) -> None:
    found = scale(values)
    places = [found.at(value) for value in sorted(values)]
    assert all(0 <= place <= 100 for place in places)
    assert places == sorted(places)
    assert 2 <= len(found.ticks()) <= 11
    assert all(0 <= place <= 100 for place, _ in found.ticks())


def test_equal_factors_are_equal_distances() -> None:
    across = Scale(1, 100, logarithmic=True)
    assert [across.at(value) for value in (0.5, 1, 10, 100, 200)] == [0, 0, 50, 100, 100]


@given(st.lists(st.floats(0, 100), max_size=25), st.floats(0.1, 8))
def test_labels_never_cover_each_other(wanted: list[float], gap: float) -> None:
    found = spread(wanted, gap)
    assert len(found) == len(wanted)
    assert all(-0.01 <= place <= 100.01 for place in found)
    least = min(gap, 100 / max(1, len(wanted) - 1))
    ordered = sorted(found)
    assert all(right - left >= least - 0.02 for left, right in itertools.pairwise(ordered))
    pairs = sorted(zip(wanted, found, strict=True))
    assert all(left[1] <= right[1] for left, right in itertools.pairwise(pairs) if left[0] < right[0])


def test_labels_with_room_stay_where_they_are_wanted_and_others_make_way_alike() -> None:
    assert spread([80, 10, 40], 5) == [80, 10, 40]
    assert spread([50, 50], 4) == [48, 52]
    assert spread([100, 99], 10) == [100, 90]
    assert spread([], 5) == []


def test_few_are_drawn_of_many_and_the_ends_are_among_them() -> None:
    found = thinned(range(10_000, 0, -1), 200)
    assert len(found) == 200
    assert (found[0], found[-1]) == (1, 10_000)
    assert found == sorted(found)
    assert thinned([3, 1, 2], 200) == [1, 2, 3]


def test_paths() -> None:
    assert rising([10, 20.5]) == "M10 100H10V50H20.5V0"
    assert rising([5]) == "M5 100H5V0"
    heights = {float(part.split("h")[0].split()[1]) for part in dots([1, 1, 1], 100).split("M")[1:]}
    assert len(heights) == 3, "equal values lie on each other"
    assert all(math.isfinite(height) and 0 < height < 100 for height in heights)
