"""Random profiles: the compiled filter answers as a plain reading of the profile does, and as libseccomp's does."""

import platform
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.filters import declared, emulate
from harness.runtime.seccomp import ARCHITECTURES, compile_filter
from harness.runtime.seccomp_numbers import ACTIONS, OPERATORS, numbers
from tests.unit.libseccomp import Oracle

VALUES = st.sampled_from(
    [0, 1, 2, 5, 0xF0, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, (5 << 32) + 1, (1 << 64) - 1]
)
COMMON = ["read", "write", "close", "ioctl", "execve", "clone", "futex"]
LISTED = st.lists(st.sampled_from([*ARCHITECTURES]), unique=True)
CONDITION = st.fixed_dictionaries(
    {"index": st.integers(0, 5), "value": VALUES, "valueTwo": VALUES, "op": st.sampled_from(OPERATORS)}
)
RESULT = st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
CALL = st.tuples(
    st.sampled_from([*ARCHITECTURES]), st.sampled_from([*COMMON, "open", "waitpid", "mmap2"]), st.tuples(*[VALUES] * 6)
)


def sections(rule: st.SearchStrategy[Any], unique: bool) -> st.SearchStrategy[dict[str, Any]]:
    by = (lambda one: one["names"][0]) if unique else None
    rules = st.lists(rule, max_size=8, unique_by=by)
    return st.fixed_dictionaries({"defaultAction": RESULT, "architectures": LISTED, "syscalls": rules})


def rules(names: list[str], conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"names": st.sampled_from(names).map(lambda name: [name]), "action": RESULT, "args": conditions}
    )


ANY = sections(rules([*COMMON, "open", "waitpid", "mmap2"], st.lists(CONDITION, max_size=3)), unique=False)
# Where several rules with inequalities name one call, libseccomp 2.5.4 loses some of them; where an architecture lacks
# a call that a rule names, it may compare a number that it has not loaded. So both are kept from it here.
SIMPLE = sections(rules(COMMON, st.lists(CONDITION, max_size=3, unique_by=lambda one: one["index"])), unique=True)


@given(ANY, st.lists(CALL, min_size=1, max_size=20))
def test_the_filter_says_what_the_profile_says(wanted: dict[str, Any], calls: list[Any]) -> None:
    code = compile_filter(wanted, "x86_64")
    for architecture, name, arguments in calls:
        if name not in numbers(architecture):
            continue
        kind = ARCHITECTURES[architecture]
        expected = declared(wanted, name, arguments, kind.wide)
        if architecture not in {"SCMP_ARCH_X86_64", *wanted["architectures"]}:
            expected = ACTIONS["SCMP_ACT_KILL"]
        assert emulate(code, kind.audit, numbers(architecture)[name], arguments) == expected


@pytest.fixture(scope="module")
def oracle(missing: Callable[[str], NoReturn]) -> Oracle:
    try:
        return Oracle()
    except OSError:
        missing("libseccomp.so.2 is not installed")


@given(wanted=SIMPLE, calls=st.lists(CALL, min_size=1, max_size=20))
def test_the_filter_says_what_libseccomps_says(wanted: dict[str, Any], calls: list[Any], oracle: Oracle) -> None:
    ours, theirs = compile_filter(wanted, platform.machine()), oracle.compile(wanted)
    for architecture, name, arguments in calls:
        for kind in ARCHITECTURES.values():
            number = numbers(architecture).get(name, 0xFFFFFFFF)
            assert emulate(ours, kind.audit, number, arguments) == emulate(theirs, kind.audit, number, arguments)
