"""Random filters for Hypothesis: `linux.seccomp` as a config may have it; `harness.filters.calls` gives calls to try.

What goes wrong with a filter goes wrong where rules meet, so a profile names few calls and names them again, and its
values lie on both sides of 32 bits. Some have hundreds of rules, for the jumps of a program reach 255 instructions.
"""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from harness.filters import MULTIPLEXERS, WORD
from harness.runtime.listener import KILLABLE, NOTIFY
from harness.runtime.seccomp import ARCHITECTURES, WITH_ERRNO
from harness.runtime.seccomp_numbers import ACTIONS, FLAGS, MULTIPLEXED, OPERATORS, numbers

Profile = dict[str, Any]

EVERY_ACTION = tuple(reversed(ACTIONS))  # to shrink towards those that change least
EVERY_CALL = tuple(sorted({name for architecture in ARCHITECTURES for name in numbers(architecture)}))
NO_CALL = "no_such_call"  # a name that no architecture knows
ERRNOS = (0, 1, 38, 4095)
LISTENER = "/run/listener.sock"  # nobody is there
CROWD = 300  # rules at most, for all architectures together; with the others their program is not too long

_HALVES = st.sampled_from([0, 1, 5, 0xF0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])
_VALUES = st.sampled_from([0, 1, 5]) | _HALVES | st.builds(lambda high, low: high << 32 | low, _HALVES, _HALVES)
_CONDITIONS: st.SearchStrategy[Profile] = st.fixed_dictionaries(
    {"index": st.integers(0, 5), "op": st.sampled_from(OPERATORS), "value": _VALUES}, optional={"valueTwo": _VALUES}
)


@st.composite
def profiles(draw: st.DrawFn, names: Sequence[str] = EVERY_CALL, errnos: Sequence[int] = ERRNOS) -> Profile:
    """Draw any valid profile, with rules for these calls.

    Few programs run behind it; `harness.strategies.configs` has profiles that let through what is done inside. Where
    calls are to be reported, nobody listens at `listenerPath`.
    """
    architectures = draw(st.lists(st.sampled_from([*ARCHITECTURES]), unique=True))
    called = draw(st.lists(_names(names), min_size=1, max_size=4, unique=True))
    result = _results("action", "errnoRet", errnos)
    rules = draw(st.lists(_rules(called, result), max_size=6))
    if draw(st.integers(0, 7)) == 7:
        rules[1:1] = draw(_crowds(names, result, CROWD // (1 + len(architectures))))
    profile = draw(_results("defaultAction", "defaultErrnoRet", errnos))
    profile |= {"architectures": architectures, "syscalls": rules}
    known_flags = [*FLAGS]
    if NOTIFY in (profile["defaultAction"], *(rule["action"] for rule in rules)):
        profile["listenerPath"] = LISTENER
    else:
        known_flags.remove(KILLABLE)
    if flags := draw(st.lists(st.sampled_from(known_flags), unique=True)):
        profile["flags"] = flags
    return profile


def _results(key: str, errno_key: str, errnos: Sequence[int]) -> st.SearchStrategy[Profile]:
    """Return what happens to a call, with the errno of it where it has one."""
    with_errno = {key: st.sampled_from(WITH_ERRNO), errno_key: st.sampled_from(errnos)}
    return st.fixed_dictionaries({key: st.sampled_from(EVERY_ACTION)}) | st.fixed_dictionaries(with_errno)


def _names(names: Sequence[str]) -> st.SearchStrategy[str]:
    """Return names of calls, more often than by chance those through which others go, and those others."""
    kinds = (names, [name for name in names if name in MULTIPLEXERS], [name for name in names if name in MULTIPLEXED])
    return st.one_of([st.sampled_from(kind) for kind in kinds if kind])


def _rules(names: Sequence[str], result: st.SearchStrategy[Profile]) -> st.SearchStrategy[Profile]:
    listed = st.lists(st.sampled_from([*names, NO_CALL]), min_size=1, max_size=3, unique=True)
    conditions = st.lists(_CONDITIONS, min_size=1, max_size=3)
    optional = st.fixed_dictionaries({}, optional={"args": conditions | st.just([])})
    return st.builds(lambda named, result, optional: {"names": named} | result | optional, listed, result, optional)


@st.composite
def _crowds(draw: st.DrawFn, names: Sequence[str], result: st.SearchStrategy[Profile], most: int) -> list[Profile]:
    """Draw rules that differ in their name or their value, and in turn in what they do."""
    condition = draw(_CONDITIONS)
    results = draw(st.lists(result, min_size=1, max_size=3))
    first, spread = draw(st.integers(0, len(names) - 1)), draw(st.booleans())
    return [
        {
            "names": [names[(first + spread * index) % len(names)]],
            "args": [condition | {"value": (condition["value"] + index) & WORD}],
        }
        | results[index % len(results)]
        for index in range(draw(st.integers(2, most)))
    ]
