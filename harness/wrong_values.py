"""What no field of its kind may be: for each kind of the runtime's table, values that have to be refused."""

import itertools
from typing import Any

from harness.runtime.kinds import (
    AbsolutePath,
    Address,
    Assignment,
    Flag,
    InterfaceName,
    Kind,
    Letters,
    Network,
    Nothing,
    NumberList,
    OneOf,
    Text,
    Whole,
)

OF_NO_KIND: tuple[object, ...] = (None, {}, [], 1.0, float("nan"), float("inf"), 10**400, 10**5000)
TEXTS = ("", "a\nb", "\x1b[2J", "\u202egnp", "a\0b", "/\ud800", "x" * 10**5, "\u0661")


def wrong_values(kind: Kind) -> list[object]:
    """Return values of a wrong type, unknown values, and values out of range."""
    if isinstance(kind, Text):
        wrong: list[object] = [0, True, "a\0b", "/\0", "\ud800", "/\udfff", "A=\udc80", "A=\0"]
        if isinstance(kind, AbsolutePath):
            wrong += ["", ".", "etc/passwd", "\n/"]
        elif isinstance(kind, Assignment):
            wrong += ["", "NAME", "=value"]
        elif isinstance(kind, NumberList):
            wrong += ["3-1", ",", "0,", "-1", "0-", "a", "0 1", "0\n", "\u0661", "9" * 5000]
        elif isinstance(kind, InterfaceName):
            wrong += ["", ".", "..", "x" * 16, "a b", "a/b", "a:b", "eth%d", "a\n", "\u00e9"]
        elif isinstance(kind, Address | Network):
            wrong += [
                "",
                "10.0.0",
                "10.0.0.1/33",
                "10.0.0.256/24",
                "fd00::1/129",
                "fe80::1%eth0",
                "host",
                "\u0661.0.0.1/8",
            ]
            wrong.append("10.0.0.1" if isinstance(kind, Network) else "10.0.0.1/24")
        return [*OF_NO_KIND, *wrong]
    if isinstance(kind, Flag):
        return [*OF_NO_KIND, *TEXTS, "true", 0, 1]
    if isinstance(kind, Whole):
        return [*OF_NO_KIND, *TEXTS, kind.low - 1, kind.high + 1, True, False, float(kind.low), str(kind.low)]
    if isinstance(kind, OneOf):
        return [*OF_NO_KIND, *TEXTS, 0, True, *(name + "x" for name in kind.names), kind.names[0].swapcase()]
    if isinstance(kind, Letters):
        return [*OF_NO_KIND, *TEXTS[1:], kind.letters[0] * 2, kind.letters + "_", 0, True]
    assert isinstance(kind, Nothing), f"no wrong values are known for {kind}"
    return [*OF_NO_KIND, *TEXTS, 0, True]


def place(config: Any, path: str, value: object) -> Any:
    """Put a value where a path of the table says, as the first of each list and under the name `name` in each map."""
    here: Any = config
    parts = parts_of(path)
    last = parts[-1]
    for part, following in itertools.pairwise(parts):
        if isinstance(part, int):
            here[:] = here[:1] or [[] if isinstance(following, int) else {}]
            here = here[0]
        else:
            here = here.setdefault(part, [] if isinstance(following, int) else {})
    if isinstance(last, int):
        here[:] = [value]
    else:
        here[last] = value
    return config


def shown(path: str) -> str:
    """Return how a message names the value that `place` has put there."""
    return path.replace("[]", "[0]").replace("*", "name")


def parts_of(path: str) -> list[str | int]:
    """Return the keys and indexes that lead to the value."""
    words = path.replace("[]", ".0").replace("*", "name").split(".")
    return [0 if word == "0" else word for word in words]
