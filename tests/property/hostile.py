"""What somebody hostile writes: values that fit nowhere, and right documents with something in them changed.

A document is made of dicts, lists and scalars, as JSON and YAML have them: a config, a scenario, an image's manifest.
"""

import contextlib
import copy
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

from harness.wrong_values import OF_NO_KIND
from harness.wrong_values import TEXTS as WRONG_TEXTS

MANY = 300  # times that something stands there which was meant to stand there once
DEEP = 100  # levels, more than any reader goes down, and less than Hypothesis

NUMBERS: tuple[object, ...] = (0, -1, 1, 4096, 2**31, 2**32 - 1, 2**63, 2**64, -(2**63) - 1, 0.5, -0.0, 1e308)
PATHS = ("/", ".", "..", "../../..", "/../..", "//", "/proc/self/root", "/dev/null", "~", "a/../../b", "/a\tb", "-x")
WORDS = (
    *("container.rootfs", "container.none", "container.command", "canary.bait.pid", "canary.bait", "a + b", "=", "%s"),
    *(
        "true",
        "no",
        "0755",
        "22:22",
        "0x1f",
        "{}",
        "[]",
        "*x",
        "&x y",
        "!!python/object:a.b c",
        "a: b",
        "# c",
        "1" * 60,
    ),
)

TEXTS = tuple(text for text in WRONG_TEXTS if len(text) < 1000)
STRANGE = (*TEXTS, *PATHS, *WORDS, "\ud800", "\r\n", "\x85\u2028", "\ufeff", "x" * 300, "\x1b" * 5000)

# Without the integer that Python does not write out: neither could Hypothesis.
SCALARS = (*(value for value in OF_NO_KIND if value != 10**5000), *NUMBERS, *STRANGE, True, False)


def _deep(kind: type, value: object) -> object:
    for _ in range(DEEP):
        value = [value] if kind is list else {"a": value}
    return value


def made_of(these: Sequence[object]) -> st.SearchStrategy[Any]:
    """Values that are some of these, or hold some of them: a few, or many, or one deep inside."""
    scalars: st.SearchStrategy[Any] = st.sampled_from(these)
    return st.one_of(
        scalars,
        st.lists(scalars, max_size=3),
        st.dictionaries(st.sampled_from([*TEXTS, "name", "type", "a"]), scalars, max_size=3),
        st.builds(_deep, st.sampled_from([list, dict]), scalars),
        st.builds(lambda value: [value] * MANY, scalars),
        st.builds(lambda value: {f"name{number}": value for number in range(MANY)}, scalars),
    )


values = made_of(SCALARS)


def like(value: object) -> st.SearchStrategy[Any]:
    """What is of the same type: so it gets past the first look, as a changed text or a number beyond all others."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, str):
        return st.sampled_from(
            [*STRANGE, f"{value}\n", f" {value}", f"{value}/..", f"/{value}", value * MANY, value[:-1]]
        )
    if isinstance(value, int):
        return st.sampled_from([*NUMBERS, value + 1, value - 1, -value])
    return values


def places(document: Any) -> list[tuple[Any, Any]]:
    """Return where something stands in a document: each container, and each key or index of it."""
    found: list[tuple[Any, Any]] = []
    keys = document.keys() if isinstance(document, dict) else range(len(document))
    for key in keys:
        found.append((document, key))
        if isinstance(document[key], dict | list):
            found += places(document[key])
    return found


@st.composite
def mutated(draw: st.DrawFn, documents: st.SearchStrategy[Any], most: int = 3) -> Any:
    """Draw a document, and change it in a few places.

    At each something else is put there, or taken out, many times over, under another name, or what stands elsewhere.
    """
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.integers(0, most))):
        there = places(document)
        if not there:
            break
        here, key = draw(st.sampled_from(there))
        match draw(st.sampled_from(["put", "remove", "repeat", "rename", "move"])):
            case "put":
                here[key] = draw(like(here[key]) | like(here[key]) | values)
            case "remove":
                del here[key]
            case "repeat" if isinstance(here, list):
                here[key:key] = [copy.deepcopy(here[key]) for _ in range(draw(st.sampled_from([1, 2, MANY])))]
            case "repeat":
                here |= {f"{key}{number}": copy.deepcopy(here[key]) for number in range(MANY)}
            case "rename" if isinstance(here, dict):
                here[draw(st.sampled_from([*STRANGE, f"{key}s", f"{key}\n"]))] = here.pop(key)
            case _:
                other, name = draw(st.sampled_from(there))
                if name in (other.keys() if isinstance(other, dict) else range(len(other))):
                    here[key] = copy.deepcopy(other[name])
    return document


class Late(Exception):
    """Something has taken too long; of no kind that anybody expects, such as TimeoutError, which is an OSError."""


@contextlib.contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Fail where something hostile makes us work without end."""

    def fail(_number: int, _frame: object) -> None:
        raise Late(f"it takes longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def assert_lines(text: str, longest: int = 45_000) -> None:
    """Each line has an end, even where all of it had to be written out, and nothing in it acts on a terminal."""
    for line in text.split("\n"):
        assert line.isprintable(), ascii(line)
        assert 0 < len(line) <= longest, f"{len(line)} characters: {line[:200]}"
