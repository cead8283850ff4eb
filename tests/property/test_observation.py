"""Whatever bytes a container writes, what counts as an observation is what its probe said once, whole and in order."""

import json
import math
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.observation import Collector

NONCE = "ab" * 16
NAMES = ["a", "b"]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values, max_size=3),
    max_leaves=8,
)
FACTS = st.dictionaries(st.text(max_size=4), JSON, max_size=3)


def line(name: str, kind: str, content: Any) -> bytes:
    return json.dumps({"nonce": NONCE, "name": name, "probe": "p", kind: content}).encode() + b"\n"


def fed(data: bytes, cuts: list[int]) -> Collector:
    collector = Collector(NONCE, NAMES)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(places):
        collector.feed(data[begin:end])
    return collector


def is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_json, value))
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


@given(FACTS, FACTS, FACTS, st.lists(st.integers(0, 10_000), max_size=5))
def test_what_was_said_comes_back_however_it_was_cut(init: Any, a: Any, b: Any, cuts: list[int]) -> None:
    data = line("init", "facts", init) + line("a", "facts", a) + line("b", "facts", b)
    assert fed(data, cuts).finish() == {"init": {"facts": init}, "a": {"facts": a}, "b": {"facts": b}}


LINES = st.builds(line, st.sampled_from(["init", "a", "b", "c"]), st.sampled_from(["facts", "ready", "error"]), JSON)
CHAOS = st.lists(LINES | st.binary(max_size=20) | st.just(b"\n") | st.just(line("init", "facts", {})), max_size=8).map(
    b"".join
)


@given(CHAOS, st.lists(st.integers(0, 10_000), max_size=5))
def test_any_bytes_give_facts_or_an_error_for_each_name(data: bytes, cuts: list[int]) -> None:
    answer = fed(data, cuts).finish()
    assert list(answer) == ["init", "a", "b"]
    for name, observation in answer.items():
        assert len(observation) == 1
        if "error" in observation:
            assert observation["error"].isprintable()
        else:
            assert isinstance(observation["facts"], dict)
            assert is_json(observation["facts"])
            assert sum(_reports(data, name)) == 1


@given(CHAOS, st.lists(st.integers(0, 10_000), max_size=5))
def test_how_the_bytes_are_cut_does_not_matter(data: bytes, cuts: list[int]) -> None:
    assert fed(data, cuts).finish() == fed(data, []).finish()


@given(
    FACTS, st.integers(0, 10_000), st.binary(min_size=1, max_size=8).filter(lambda noise: noise.strip(b" \t\r") != b"")
)
def test_noise_between_the_lines_never_leaves_facts(facts: Any, place: int, noise: bytes) -> None:
    lines = [line("init", "facts", facts), line("a", "facts", facts), line("b", "facts", facts)]
    lines.insert(place % 4, noise + b"\n")
    answer = fed(b"".join(lines), []).finish()
    assert all("error" in observation for observation in answer.values())


def _reports(data: bytes, name: str) -> list[bool]:
    """For each whole line whether it reports on `name`."""
    return [
        f'"name": "{name}"'.encode() in piece and b'"ready":' not in piece[:120] for piece in data.split(b"\n")[:-1]
    ]
