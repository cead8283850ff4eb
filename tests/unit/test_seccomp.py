"""The filter, emulated: equal to libseccomp's for every number of every architecture, and where it is stricter."""

import platform
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from harness.filters import emulate
from harness.runtime.errors import ConfigError
from harness.runtime.fields import CAPABILITIES
from harness.runtime.plan import plan
from harness.runtime.profile import profile
from harness.runtime.seccomp import ARCHITECTURES, compile_filter
from harness.runtime.seccomp_numbers import ACTIONS, MULTIPLEXED, OPERATORS, X32_SYSCALL_BIT, numbers
from harness.runtime.spec import example
from harness.runtime.step import Host
from tests.unit.libseccomp import Oracle

KILL, ALLOW = ACTIONS["SCMP_ACT_KILL"], ACTIONS["SCMP_ACT_ALLOW"]
EPERM, ENOSYS = ACTIONS["SCMP_ACT_ERRNO"] | 1, ACTIONS["SCMP_ACT_ERRNO"] | 38
ALL = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
AUDITS = [*sorted({architecture.audit for architecture in ARCHITECTURES.values()}), 0x1234]
EDGES = [0x3FFFFFFF, X32_SYSCALL_BIT, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]
NUMBERS = sorted({number + step for name in ALL for number in numbers(name).values() for step in (0, 1)} | {*EDGES})
NONE = (0, 0, 0, 0, 0, 0)

X86_64, X86, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7


@pytest.fixture(scope="module")
def oracle(missing: Callable[[str], NoReturn]) -> Oracle:
    try:
        return Oracle()
    except OSError:
        missing("libseccomp.so.2 is not installed")


def rule(names: str, action: str, *args: tuple[int, str, int] | tuple[int, str, int, int], **more: int) -> Any:
    keys = ("index", "op", "value", "valueTwo")
    conditions = [dict(zip(keys, (one[0], f"SCMP_CMP_{one[1]}", *one[2:]), strict=False)) for one in args]
    return {"names": names.split(), "action": f"SCMP_ACT_{action}", "args": conditions} | more


def section(default: str, *rules: Any, architectures: list[str] | None = None, **more: Any) -> dict[str, Any]:
    known = {"architectures": architectures or [], "syscalls": list(rules)}
    return {"defaultAction": f"SCMP_ACT_{default}"} | known | more


MANY = " ".join(sorted(set(numbers("SCMP_ARCH_X86_64")) - {"clone", "personality", "socketcall", "ipc"})[::3])
PROFILES = {
    "allow list": section(
        "ERRNO",
        rule(MANY, "ALLOW"),
        rule("clone", "ALLOW", (0, "MASKED_EQ", 0x7E020000, 0)),
        *(rule("personality", "ALLOW", (0, "EQ", value)) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)),
        rule("clone3 no_such_call", "ERRNO", errnoRet=38),
        rule("ioctl", "ALLOW", (1, "NE", 0x5412)),
        architectures=ALL,
        defaultErrnoRet=1,
    ),
    "deny list": section(
        "ALLOW",
        rule("mount umount umount2 bpf socket semop mmap2 fork", "ERRNO"),
        rule("unshare", "KILL_PROCESS", (0, "MASKED_EQ", 1 << 28, 1 << 28)),
        rule("kcmp", "TRACE", errnoRet=7),
        architectures=["SCMP_ARCH_X86"],
    ),
    "own architecture": section("KILL_PROCESS", rule(MANY, "LOG"), rule("ptrace", "TRAP")),
    "with x32": section("LOG", rule("ioctl execve read", "ALLOW", (2, "GT", 5)), architectures=["SCMP_ARCH_X32"]),
    "nothing": section("ALLOW"),
    "same as default": section("ALLOW", rule("read", "ALLOW", (0, "EQ", 1)), rule("read", "TRAP"), architectures=ALL),
    "without conditions wins": section(
        "ERRNO", rule("read", "LOG", (0, "EQ", 1)), rule("read", "ALLOW"), rule("read", "TRAP"), architectures=ALL
    ),
    "the usual one": profile([], platform.machine()),
    "the usual one for the privileged": profile(CAPABILITIES, platform.machine()),
    "alternatives": section("ERRNO", rule("read", "ALLOW", (0, "EQ", 1), (0, "EQ", 2)), architectures=ALL),
}


def disagreements(wanted: dict[str, Any], oracle: Oracle, tried: list[int], arguments: list[int]) -> list[str]:
    """Return the calls for which our filter and libseccomp's give different answers."""
    ours, theirs = compile_filter(wanted, platform.machine()), oracle.compile(wanted)
    result = []
    for audit in AUDITS:
        for number in tried:
            for first in arguments:
                for second in arguments if len(arguments) < 12 else [first]:
                    call = (first, second, first, second, first, second)
                    answers = (emulate(ours, audit, number, call), emulate(theirs, audit, number, call))
                    if len(set(answers)) > 1:
                        result.append(f"{audit:#x} {number:#x} {call}: {answers[0]:#x}, libseccomp {answers[1]:#x}")
    return result


@pytest.mark.parametrize("name", PROFILES)
def test_every_number_of_every_architecture_gets_libseccomps_answer(name: str, oracle: Oracle) -> None:
    # What libseccomp does not know yet it passes over: hold it to the calls that both know.
    wanted = PROFILES[name]
    native = "SCMP_ARCH_X86_64" if platform.machine() == "x86_64" else "SCMP_ARCH_AARCH64"
    rules = [
        one | {"names": [call for call in one["names"] if oracle.number(native, call) != -1]}
        for one in wanted["syscalls"]
    ]
    known = wanted | {"syscalls": [one for one in rules if one["names"]]}
    assert disagreements(known, oracle, NUMBERS, [0]) == []
    special = {call for one in rules if one["args"] for call in one["names"]}
    tried = sorted(
        {numbers(architecture)[call] for architecture in ALL for call in special & set(numbers(architecture))}
    )
    corners = [0, 1, 5, 6, 8, 9, 16, 40, 0x5412, 1 << 28, 0x7E020000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 8]
    assert disagreements(known, oracle, tried, corners) == []


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("value", [0, 5, 0xFFFFFFFF, 1 << 32, (5 << 32) + 5, (1 << 64) - 1])
def test_operators_compare_all_64_bits(operator: str, value: int, oracle: Oracle) -> None:
    near = {value + step for step in (-1, 0, 1)} | {value ^ 1 << 32, value & 0xFFFFFFFF, value >> 32 << 32, 5, 1 << 63}
    arguments = sorted({0, 1, (1 << 64) - 1} | {one for one in near if 0 <= one < 1 << 64})
    condition = {"index": 1, "op": operator, "value": value, "valueTwo": value >> 1}
    wanted = section("ERRNO", rule("close", "ALLOW") | {"args": [condition]}, architectures=ALL)
    tried = [numbers(name)["close"] for name in ALL]
    assert disagreements(wanted, oracle, tried, arguments) == []


def test_the_numbers_are_those_that_libseccomp_knows(oracle: Oracle) -> None:
    names = sorted({name for architecture in ALL for name in numbers(architecture)})
    wrong = []
    for architecture in ALL:
        known = numbers(architecture)
        for name in names:
            theirs = oracle.number(architecture, name)
            multiplexed = architecture == "SCMP_ARCH_X86" and name in MULTIPLEXED
            if theirs >= 0 and theirs != known.get(name):
                wrong.append(f"{architecture} {name}: {known.get(name)}, libseccomp {theirs}")
            if theirs < 0 and known.get(name, 999) & 0xFFFF < 451 and not multiplexed and name not in NEWER:
                wrong.append(f"{architecture} {name}: {known[name]}, unknown to libseccomp")
    assert wrong == []


NEWER = {"uretprobe", "uprobe"}


def answer(wanted: dict[str, Any], audit: int, number: int, *arguments: int, machine: str = "x86_64") -> int:
    return emulate(compile_filter(wanted, machine), audit, number, (*arguments, *NONE)[:6])


def test_high_bits_do_not_slip_past_a_comparison() -> None:
    wanted = section("ERRNO", rule("socket", "ALLOW", (0, "LE", 40)))
    assert answer(wanted, X86_64, 41, 40) == ALLOW
    assert answer(wanted, X86_64, 41, 41) == EPERM
    assert answer(wanted, X86_64, 41, (1 << 32) + 1) == EPERM


def test_what_is_not_listed_is_killed() -> None:
    wanted = section("ALLOW")
    assert answer(wanted, X86_64, 0) == ALLOW
    assert answer(wanted, X86_64, X32_SYSCALL_BIT) == KILL
    assert answer(wanted, X86, 0) == KILL
    assert answer(wanted, AARCH64, 0) == KILL
    assert answer(wanted, X86_64, 0xFFFFFFFF) == ALLOW  # a call that a tracer has made void
    assert answer(wanted, AARCH64, 0, machine="aarch64") == ALLOW
    assert answer(wanted, X86_64, 0, machine="aarch64") == KILL


def test_a_rule_with_conditions_never_opens_a_multiplexer_and_always_closes_it() -> None:
    socketcall, socket = 102, 1
    allowing = section("ERRNO", rule("socket", "ALLOW", (0, "NE", 40)), architectures=["SCMP_ARCH_X86"])
    assert answer(allowing, X86, 359, 2) == ALLOW
    assert answer(allowing, X86, socketcall, socket) == EPERM
    denying = section("ALLOW", rule("socket", "ERRNO", (0, "EQ", 40)), architectures=["SCMP_ARCH_X86"])
    assert answer(denying, X86, 359, 2) == ALLOW
    assert answer(denying, X86, socketcall, socket) == EPERM
    assert answer(denying, X86, socketcall, 2) == ALLOW
    plain = section("ERRNO", rule("socket semop", "ALLOW"), architectures=["SCMP_ARCH_X86"])
    assert [answer(plain, X86, socketcall, socket), answer(plain, X86, 117, 1)] == [ALLOW, ALLOW]
    assert [answer(plain, X86, socketcall, 2), answer(plain, X86, 117, 2)] == [EPERM, EPERM]


def test_of_overlapping_rules_the_first_wins() -> None:
    wanted = section("ERRNO", rule("close", "LOG", (0, "GT", 5)), rule("close", "ALLOW", (0, "GT", 3)))
    assert [answer(wanted, X86_64, 3, value) for value in (3, 4, 6)] == [EPERM, ALLOW, ACTIONS["SCMP_ACT_LOG"]]


def test_of_rules_for_a_multiplexer_and_for_what_goes_through_it_the_first_wins() -> None:
    wanted = section(
        "ERRNO",
        rule("socketcall", "LOG", (1, "EQ", 5)),
        rule("socket", "KILL"),
        rule("socketcall", "ALLOW", (0, "EQ", 1)),
        architectures=["SCMP_ARCH_X86"],
    )
    socketcall, socket = 102, 1
    assert [answer(wanted, X86, socketcall, socket, pointer) for pointer in (5, 6)] == [ACTIONS["SCMP_ACT_LOG"], KILL]


def test_neighbours_with_the_same_answer_are_one_range() -> None:
    assert len(compile_filter(section("ERRNO", rule("read write open close", "ALLOW")), "x86_64")) < 14
    long = compile_filter(PROFILES["allow list"], "x86_64")
    assert all(operation == 0x05 or max(true, false) <= 255 for operation, true, false, _ in long)


def test_an_answer_is_written_once_for_all_who_can_reach_it() -> None:
    usual = compile_filter(profile([], "x86_64"), "x86_64")
    comparisons = sum(operation == 0x35 for operation, *_ in usual)
    answers = sum(operation == 0x06 for operation, *_ in usual)
    assert answers < comparisons / 10  # where each leaf of the tree has its own, there are more of them


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({}, "linux.seccomp.defaultAction: missing"),
        (section("NOTIFY"), "linux.seccomp.listenerPath: missing; SCMP_ACT_NOTIFY needs the socket of"),
        (section("ALLOW", listenerMetadata="x"), "linux.seccomp.listenerMetadata: says nothing to anybody without"),
        (section("NOTIFY", listenerPath="/s"), "linux.seccomp.syscalls: sendmsg is not allowed"),
        (section("ALLOW", rule("read", "NOTIFY"), listenerPath="/s"), "linux.seccomp.syscalls: read is not allowed"),
        (
            section("NOTIFY", rule("sendmsg read close", "ALLOW", (0, "EQ", 3)), listenerPath="/s"),
            "linux.seccomp.syscalls: sendmsg is not allowed",
        ),
        (section("ALLOW", defaultErrnoRet=1), "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW returns no errno"),
        (section("ALLOW", {"names": []}), r"linux.seccomp.syscalls\[0\].names: missing"),
        (section("ALLOW", {"names": ["read"]}), r"linux.seccomp.syscalls\[0\].action: missing"),
        (section("ALLOW", rule("read", "KILL", errnoRet=1)), r"syscalls\[0\].errnoRet: SCMP_ACT_KILL returns no"),
        (section("ALLOW", rule("read", "KILL") | {"args": [{"index": 0}]}), r"args\[0\].value: missing"),
        (
            section("ALLOW", *(rule("read", "KILL", (0, "EQ", value)) for value in range(1100))),
            "instructions when compiled, and the kernel takes 4096",
        ),
        (
            section("ALLOW") | {"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]},
            "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY",
        ),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(wanted: dict[str, Any], sentence: str) -> None:
    config = example(0, 0)
    config["linux"]["seccomp"] = wanted
    with pytest.raises(ConfigError, match=sentence):
        plan(config, Host("isoproof-1", "/r"))


@pytest.mark.parametrize("locked", [True, False])
def test_it_is_installed_as_late_as_the_privileges_allow(locked: bool) -> None:
    config = example(0, 0)
    config["process"]["noNewPrivileges"] = locked
    config["linux"]["seccomp"] = section("ALLOW") | {"flags": ["SECCOMP_FILTER_FLAG_LOG"]}
    steps = plan(config, Host("isoproof-1", "/r")).steps
    names = [step.name for step in steps]
    assert names.count("seccomp") == 1
    at = names.index("seccomp")
    assert names[at + 1] == ("execute" if locked else "user")
    (call,) = steps[at].calls
    assert str(call) == "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, {7 instructions})"
