"""Random profiles: the compiled filter answers as a plain reading of the profile does, and as libseccomp's does."""

import functools
import platform
from collections.abc import Callable
from operator import or_
from random import Random
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import filters
from harness.filters import (
    HALF,
    KILL_THREAD,
    MULTIPLEXERS,
    WORD,
    Call,
    action,
    always_holds,
    declared,
    differences,
    disassemble,
    emulate,
    place,
    spelled,
)
from harness.random_profiles import EVERY_CALL, NO_CALL, Profile, profiles
from harness.runtime.config import read
from harness.runtime.errors import ConfigError
from harness.runtime.plan import plan
from harness.runtime.seccomp import ARCHITECTURES, NATIVE, ORDERED, SKIPPED, compile_filter, pack
from harness.runtime.seccomp_numbers import ACTIONS, MULTIPLEXED, numbers
from harness.runtime.spec import example
from harness.runtime.step import Host, Program
from harness.runtime.syscalls import SECCOMP, SECCOMP_FILTER_FLAG
from tests.unit.libseccomp import Oracle

MACHINES = st.sampled_from([*NATIVE])
X86 = "SCMP_ARCH_X86"
KILLING = {"action": "SCMP_ACT_KILL_PROCESS"}
MANY = 500  # calls
HUNDRED = settings(max_examples=100)  # whatever the profile: what they cost goes into calls


def calls(profile: Profile) -> list[Call]:
    """Return calls to try, of very many only so many."""
    every = filters.calls(profile)
    return every[:: 1 + len(every) // MANY]


def listed(profile: Profile, machine: str) -> set[str]:
    return {NATIVE[machine], *profile["architectures"]}


def reading(profile: Profile, call: Call, machine: str) -> int:
    """Return what a profile says of a call, without making a program of it."""
    audit, number, arguments = call
    architecture, name = place(*call[:2])
    if number == SKIPPED and audit in {ARCHITECTURES[one].audit for one in listed(profile, machine)}:
        name = ""  # no call of any architecture, so not of one that is not listed
    elif architecture not in listed(profile, machine):
        return KILL_THREAD
    if architecture == X86 and name in MULTIPLEXERS:
        return declared(multiplexed(profile), name, arguments, wide=False)
    return declared(profile, name, arguments, ARCHITECTURES[architecture].wide)


def multiplexed(profile: Profile) -> Profile:
    """Return a profile with what its rules mean for socketcall(2) and ipc(2), which many calls of i386 go through.

    Their arguments are behind a pointer: rules with conditions are for all calls, and only where they are stricter than
    the default.
    """
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    saying = [rule for rule in profile["syscalls"] if action(rule["action"], rule.get("errnoRet")) != default]
    rules = []
    for rule in saying:
        rules.append(rule)
        for name in MULTIPLEXED.keys() & set(rule["names"]):
            always = [one for one in saying if name in one["names"] and always_holds(one.get("args", []), HALF)]
            if rule is always[0] if always else strictness(rule["action"]) < strictness(profile["defaultAction"]):
                multiplexer, number = MULTIPLEXED[name]
                chosen = {"index": 0, "value": number, "op": "SCMP_CMP_EQ"}
                rules.append(rule | {"names": [multiplexer], "args": [chosen]})
    return profile | {"syscalls": rules}


def strictness(name: str) -> int:
    return [*ACTIONS.values()].index(ACTIONS[name])


@HUNDRED
@given(profiles(), MACHINES)
def test_the_filter_says_what_the_profile_says(profile: Profile, machine: str) -> None:
    code = disassemble(pack(compile_filter(profile, machine)))  # as the kernel takes it: a jump is one byte
    for call in calls(profile):
        assert spelled(emulate(code, *call)) == spelled(reading(profile, call, machine)), place(*call[:2])


@settings(max_examples=20)
@given(profiles(), MACHINES)
def test_every_number_of_every_architecture_gets_the_profiles_answer(profile: Profile, machine: str) -> None:
    assert differences(profile, [pack(compile_filter(profile, machine))], machine) == []


@HUNDRED
@given(profiles(), MACHINES, st.randoms(use_true_random=False))
def test_rules_for_different_calls_stand_in_any_order(profile: Profile, machine: str, random: Random) -> None:
    """What goes through one system call is one call here."""
    single = [rule | {"names": [name]} for rule in profile["syscalls"] for name in rule["names"]]
    order = sorted({real_name(rule) for rule in single})
    random.shuffle(order)
    single.sort(key=lambda rule: order.index(real_name(rule)))
    code, other = (compile_filter(profile | {"syscalls": rules}, machine) for rules in (profile["syscalls"], single))
    for call in calls(profile):
        assert emulate(code, *call) == emulate(other, *call), place(*call[:2])


def real_name(rule: Profile) -> str:
    name: str
    (name,) = rule["names"]
    return MULTIPLEXED.get(name, (name, 0))[0]


@HUNDRED
@given(profiles(), MACHINES, st.data())
def test_a_rule_with_the_default_action_says_nothing(profile: Profile, machine: str, data: st.DataObject) -> None:
    """Nor does one for a call that no architecture has."""
    result = {"action": profile["defaultAction"]}
    if "defaultErrnoRet" in profile:
        result["errnoRet"] = profile["defaultErrnoRet"]
    names = data.draw(st.lists(st.sampled_from(EVERY_CALL), min_size=1))
    rules = [*profile["syscalls"]]
    for rule in ({"names": names} | result, {"names": [NO_CALL], "action": "SCMP_ACT_KILL_PROCESS"}):
        rules.insert(data.draw(st.integers(0, len(rules))), rule)
    assert compile_filter(profile | {"syscalls": rules}, machine) == compile_filter(profile, machine)


@HUNDRED
@given(profiles(), profiles(), MACHINES)
def test_a_rule_that_kills_and_comes_first_opens_nothing(profile: Profile, other: Profile, machine: str) -> None:
    deadly = [{key: rule[key] for key in rule.keys() & {"names", "args"}} | KILLING for rule in other["syscalls"]]
    tighter = profile | {"syscalls": deadly + profile["syscalls"]}
    before, after = compile_filter(profile, machine), compile_filter(tighter, machine)
    for call in calls(tighter):
        assert emulate(after, *call) in (emulate(before, *call), ACTIONS["SCMP_ACT_KILL_PROCESS"]), place(*call[:2])


@HUNDRED
@given(profiles())
def test_the_plan_installs_that_filter_with_the_flags_that_are_asked_for(profile: Profile) -> None:
    config = example(0, 0)
    config["linux"]["seccomp"] = profile
    assert read(config) == config
    try:
        steps = plan(config, Host("isoproof-1", "/r", machine="x86_64")).steps
    except ConfigError as error:
        if "with SCMP_ACT_NOTIFY the start itself needs sendmsg" in str(error):
            return
        raise
    ((operation, flags, program),) = [step.calls[0].arguments for step in steps if step.name == "seccomp"]
    names = [name.removeprefix("SECCOMP_FILTER_FLAG_") for name in profile.get("flags", [])]
    if "listenerPath" in profile:
        names += ["NEW_LISTENER", *(f"{name}_ESRCH" for name in names if name == "TSYNC")]
    wanted = functools.reduce(or_, (SECCOMP_FILTER_FLAG[name] for name in names), SECCOMP_FILTER_FLAG(0))
    assert (operation, flags) == (SECCOMP.SET_MODE_FILTER, wanted)
    assert program == Program(pack(compile_filter(profile, "x86_64")))


@pytest.fixture(scope="module")
def oracle(missing: Callable[[str], NoReturn]) -> Oracle:
    try:
        return Oracle()
    except OSError:
        missing("libseccomp.so.2 is not installed")


@HUNDRED
@given(data=st.data())
def test_the_filter_says_what_libseccomps_says(data: st.DataObject, oracle: Oracle) -> None:
    names = [name for name in EVERY_CALL if oracle.knows(name)]
    common = [name for name in names if all(name in numbers(architecture) for architecture in ARCHITECTURES)]
    errnos = (0, 1, 38, 4094)  # 4095 it does not take
    profile = data.draw(profiles(common, errnos) | profiles(names, errnos))
    machine = platform.machine()
    ours, theirs = compile_filter(profile, machine), oracle.compile(profile)
    for call in calls(profile):
        architecture, name = place(*call[:2])
        rules = [rule for rule in profile["syscalls"] if name in rule["names"]]
        if not (
            name in oracle.refused
            or contradict_each_other(profile, rules, call)
            or (architecture == X86 and name in MULTIPLEXERS and any("args" in rule for rule in profile["syscalls"]))
            or lost_by_libseccomp(rules)
            or not_loaded_by_libseccomp(profile, architecture, oracle)
        ):
            assert spelled(emulate(ours, *call)) == spelled(emulate(theirs, *call)), place(*call[:2])


def contradict_each_other(profile: Profile, rules: list[Profile], call: Call) -> bool:
    """Return whether rules for a call have different answers, and nothing says which of them counts."""
    architecture, name = place(*call[:2])
    wide = bool(architecture) and ARCHITECTURES[architecture].wide
    if any(always_holds(rule.get("args", []), WORD if wide else HALF) for rule in rules):
        return False
    alone = [profile | {"syscalls": some} for some in ([], *([rule] for rule in rules))]
    return len({declared(one, name, call[2], wide) for one in alone}) > 2


def lost_by_libseccomp(rules: list[Profile]) -> bool:
    """Return whether libseccomp 2.5.4 may lose an inequality: of several conditions about one argument.

    When what was compared last does not hold, the next condition may be compared with that: with the other half of the
    argument, or with the argument that another condition of the same rule is about.
    """
    conditions = [one for rule in rules for one in rule.get("args", [])]
    indexes = [one["index"] for one in conditions]
    return any(one["op"] in ORDERED and indexes.count(one["index"]) > 1 for one in conditions)


def not_loaded_by_libseccomp(profile: Profile, architecture: str, oracle: Oracle) -> bool:
    """Return whether libseccomp 2.5.4 may compare numbers without having loaded any.

    It loads them for the call that it compares first, and where the architecture lacks that call, not at all. x86_64
    and x32 are one architecture there.
    """
    named = {name for rule in profile["syscalls"] for name in rule["names"] if oracle.knows(name)}
    together = [
        name
        for name in listed(profile, platform.machine())
        if architecture and ARCHITECTURES[name].audit == ARCHITECTURES[architecture].audit
    ]
    return any(not named <= numbers(name).keys() for name in together)
