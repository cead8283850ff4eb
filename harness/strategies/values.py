"""Right values of each kind of the runtime's table, the simplest first."""

from typing import Any

from hypothesis import strategies as st

from harness.runtime.kinds import (
    AbsolutePath,
    Address,
    Assignment,
    Flag,
    InterfaceName,
    Kind,
    Letters,
    Network,
    NumberList,
    OneOf,
    Text,
    Whole,
)

Strategy = st.SearchStrategy[Any]

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NAMES = st.text("abcxyz", min_size=1, max_size=3)


def values(kind: Kind) -> Strategy:
    """Return right values of a kind; none at all for a kind that accepts nothing."""
    if isinstance(kind, NumberList):
        return st.sampled_from(["", "0", "0-3,7"])
    if isinstance(kind, InterfaceName):
        return st.sampled_from(["eth0", "lo", "x"])
    if isinstance(kind, Network):
        return st.sampled_from(["10.0.0.2/24", "fd00::2/64", "0.0.0.0/0"])
    if isinstance(kind, Address):
        return st.sampled_from(["10.0.0.1", "::"])
    if isinstance(kind, Assignment):
        return st.builds("{}={}".format, NAMES.map(str.upper), TEXTS)
    if isinstance(kind, AbsolutePath):
        return TEXTS.map("/{}".format)
    if isinstance(kind, Text):
        return TEXTS
    if isinstance(kind, Flag):
        return st.booleans()
    if isinstance(kind, Whole):
        return st.integers(kind.low, kind.high) | st.sampled_from([kind.low, kind.high])
    if isinstance(kind, OneOf):
        return st.sampled_from(kind.names)
    if isinstance(kind, Letters):
        return st.sampled_from(["", kind.letters])
    return st.nothing()
