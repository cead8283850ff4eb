"""One list, two kernels: the BPF program of version 2 gives the verdicts of version 1's list, whatever the rules."""

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.runtime.config import read as read_config
from harness.runtime.devicefilter import DEFAULT, lines, program, read
from harness.runtime.errors import ConfigError
from harness.runtime.spec import example

NUMBERS = st.sampled_from([-1, 1, 2, 3])
ACCESS = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda letters: "".join(sorted(letters)))
RULE = st.one_of(
    st.fixed_dictionaries({"allow": st.booleans(), "access": st.just("rwm")}),
    st.fixed_dictionaries(
        {
            "allow": st.booleans(),
            "type": st.sampled_from("bc"),
            "major": NUMBERS,
            "minor": NUMBERS,
            "access": ACCESS,
        }
    ),
)
ATTEMPTS = [
    (kind, major, minor, access)
    for kind in "bc"
    for major in (0, 1, 2, 3, 5, 136)
    for minor in (0, 1, 2, 3)
    for access in ("m", "r", "w", "rw")
]
Attempt = tuple[str, int, int, str]


def emulated(code: bytes, attempt: Attempt) -> bool:
    """Run a program as the kernel would, with the few instructions that it may be made of."""
    kind, major, minor, access = attempt
    bits = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = struct.pack("=3I", bits << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers: dict[int, int] = {1: -1}
    at = 0
    while True:
        operation, both, offset, constant = struct.unpack_from("=BBhi", code, at * 8)
        target, source = both & 15, both >> 4
        at += 1
        match operation:
            case 0x61:
                assert registers[source] == -1, "reads through what is no pointer any more"
                registers[target] = struct.unpack_from("=I", context, offset)[0]
            case 0xB4:
                registers[target] = constant & 0xFFFFFFFF
            case 0xBC:
                registers[target] = registers[source]
            case 0x54:
                registers[target] &= constant & 0xFFFFFFFF
            case 0x74:
                registers[target] >>= constant
            case 0x16:
                at += offset if registers[target] == constant else 0
            case 0x56:
                at += offset if registers[target] != constant else 0
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"instruction {operation:#x}")


def listed(written: list[tuple[str, str]], attempt: Attempt) -> bool:
    """Give the verdict of security/device_cgroup.c on what has been written into devices.allow and devices.deny."""
    kind, major, minor, access = attempt
    allow, exceptions = True, dict[str, set[str]]()
    for file, text in written:
        if text == "a":
            allow, exceptions = file == "devices.allow", {}
            continue
        assert (file == "devices.allow") != allow, "only a removal of exactly the same devices would do anything"
        devices, _, letters = text.rpartition(" ")
        exceptions.setdefault(devices, set()).update(letters)
    fitting = [
        letters
        for devices, letters in exceptions.items()
        if devices in {f"{kind} {a}:{b}" for a in ("*", major) for b in ("*", minor)}
    ]
    if allow:
        return not any(letters & set(access) for letters in fitting)
    return any(set(access) <= letters for letters in fitting)


def last_that_fits(rules: list[dict[str, Any]], attempt: Attempt) -> bool:
    """Give the verdict that the config's author means, for an access of one letter."""
    kind, major, minor, access = attempt
    if kind == "c" and any(one.major == major and one.minor in (-1, minor) for one in DEFAULT):
        return True
    allow = everything = True
    for rule in rules:
        if "type" not in rule:
            allow = everything = rule["allow"]
        elif rule["type"] == kind and rule["major"] in (-1, major) and rule["minor"] in (-1, minor):
            allow = rule["allow"] if access in rule["access"] else allow
    return True if access == "m" and not everything else allow


def config(rules: list[dict[str, Any]]) -> dict[str, Any]:
    wanted = example(0, 0)
    wanted["linux"]["resources"] = {"devices": rules}
    return read_config(wanted)


@given(st.lists(RULE, min_size=1, max_size=6))
def test_program_list_and_meaning_agree(rules: list[dict[str, Any]]) -> None:
    try:
        filter = read(config(rules))
    except ConfigError as error:
        if "takes back part of the earlier rule" not in str(error):
            raise
        return
    code, written = program(filter), lines(filter)
    for attempt in ATTEMPTS:
        verdict = emulated(code, attempt)
        assert verdict == listed(written, attempt), attempt
        if len(attempt[3]) == 1:
            assert verdict == last_that_fits(rules, attempt), attempt
