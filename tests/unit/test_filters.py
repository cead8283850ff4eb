"""What filters say, two opinions held against each other: a filter that says something else is found out."""

import platform
from typing import Any

import pytest

from harness import declared
from harness.filters import differences, emulate, spelled, strictest
from harness.runtime.profile import profile
from harness.runtime.seccomp import compile_filter, pack
from harness.runtime.seccomp_numbers import ACTIONS

MACHINE = platform.machine()
SECTION = profile(["CAP_CHOWN"], MACHINE)
ALLOW, KILL = ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_KILL_PROCESS"]


def compiled(section: dict[str, Any]) -> bytes:
    return pack(compile_filter(section, MACHINE))


def test_the_compiled_filter_says_what_the_section_says() -> None:
    assert differences(SECTION, [compiled(SECTION)], MACHINE) == []


def test_a_second_filter_that_allows_all_changes_nothing() -> None:
    nothing = pack(((0x06, 0, 0, ALLOW),))
    assert differences(SECTION, [nothing, compiled(SECTION)], MACHINE) == []
    assert differences(SECTION, [nothing], MACHINE) != []
    assert differences(SECTION, [], MACHINE) == ["there is no filter"]


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        ({"names": ["keyctl"], "action": "SCMP_ACT_ALLOW"}, " keyctl("),
        ({"names": ["read"], "action": "SCMP_ACT_ERRNO"}, " read("),
        ({"names": ["io_uring_setup"], "action": "SCMP_ACT_LOG"}, " io_uring_setup("),
        (
            {
                "names": ["socket"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}],
            },
            " socket(0x100000028, ",
        ),
    ],
)
def test_an_edit_is_found(edit: dict[str, Any], found: str) -> None:
    kept = [
        rule | {"names": [name for name in rule["names"] if name not in edit["names"]]} for rule in SECTION["syscalls"]
    ]
    edited = SECTION | {"syscalls": [rule for rule in kept if rule["names"]] + [edit]}
    wrong = differences(SECTION, [compiled(edited)], MACHINE)
    assert any(found in line for line in wrong)
    assert all(f" {edit['names'][0]}(" in line for line in wrong)


def test_an_architecture_that_is_not_listed_must_be_killed() -> None:
    own = SECTION | {"architectures": []}
    assert differences(own, [compiled(own)], MACHINE) == []
    wrong = differences(own, [compiled(SECTION)], MACHINE)
    assert wrong
    assert all("of an architecture that is not listed" in line for line in wrong)


def test_the_strictest_of_several_answers_counts() -> None:
    assert strictest([ALLOW, ACTIONS["SCMP_ACT_LOG"]]) == ACTIONS["SCMP_ACT_LOG"]
    assert strictest([ACTIONS["SCMP_ACT_ERRNO"] | 1, KILL, ALLOW]) == KILL
    assert spelled(ACTIONS["SCMP_ACT_ERRNO"] | 38) == "ERRNO 38"
    assert spelled(ALLOW) == "ALLOW"


@pytest.mark.parametrize("code", [((0x20, 0, 0, 2),), ((0x20, 0, 0, 0),), ((0x99, 0, 0, 0),)])
def test_a_program_that_the_kernel_would_not_take_is_no_answer(code: Any) -> None:
    with pytest.raises((ValueError, IndexError)):
        emulate(code, 0, 0, [0] * 6)


def test_attempts_are_held_to_the_declared_errno() -> None:
    config = {"linux": {"seccomp": SECTION}}
    words = [0] * 6
    good = {name: {"errno": "EPERM", "arguments": words} for name in ("keyctl", "mount")}
    assert declared.wrong_errnos(config, good | {"500": {"errno": "ENOSYS", "arguments": words}}) == []
    bad = {
        "keyctl": {"errno": None, "arguments": words},
        "mount": {"ended_by": "SIGSYS", "arguments": words},
        "read": {"errno": "EPERM", "arguments": words},
    }
    assert declared.wrong_errnos(config, bad) == [
        "keyctl: None, declared EPERM",
        "mount: SIGSYS, declared EPERM",
        "read: EPERM, declared no errno",
    ]
