"""Which devices a cgroup may use: version 1 takes a list, version 2 a BPF program. cgroups(7), bpf(2).

Both are made from one list, so that a config means the same on both: what holds for all devices, and the exceptions
from it. The rules of the config are applied in order and the last that fits decides. The list of version 1 cannot say
all of that: a rule that takes back part of an earlier, wider one would be ignored by the kernel without a word, so it
is refused. As in runc, the default devices are allowed whatever the rules say.
"""

import struct
from dataclasses import dataclass, replace

from harness.runtime.config import Config
from harness.runtime.errors import ConfigError
from harness.runtime.step import Call, Packed, Record, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, BPF, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI, BPF_PROG_TYPE_CGROUP_DEVICE, O

ANY = -1
ALL = frozenset("rwm")
BITS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*: include/uapi/linux/bpf.h
TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices, and accesses to them: what the kernel calls a `dev_exception_item`."""

    type: str
    major: int
    minor: int
    access: frozenset[str]

    def __str__(self) -> str:
        major, minor = ("*" if number == ANY else str(number) for number in (self.major, self.minor))
        return f"{self.type} {major}:{minor} {''.join(letter for letter in 'rwm' if letter in self.access)}"

    def covers(self, other: "Devices") -> bool:
        """Return whether every device of the other is one of these."""
        return self.type == other.type and self.major in (ANY, other.major) and self.minor in (ANY, other.minor)

    def meets(self, other: "Devices") -> bool:
        """Return whether some device is one of both."""
        majors, minors = {self.major, other.major}, {self.minor, other.minor}
        return self.type == other.type and all(ANY in pair or len(pair) == 1 for pair in (majors, minors))


@dataclass(frozen=True, slots=True)
class Filter:
    """What holds for all devices, and the exceptions from it; `reset` where a rule for all devices was among them."""

    allow: bool
    exceptions: tuple[Devices, ...] = ()
    reset: bool = False


# The default devices of the runtime-spec, pseudo terminals, and making nodes, which without access to them is harmless.
MAKING = (Devices("c", ANY, ANY, frozenset("m")), Devices("b", ANY, ANY, frozenset("m")))
DEFAULT = tuple(
    Devices("c", major, minor, ALL)
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, ANY))
)


def wanted(config: Config) -> bool:
    """Return whether the config says which devices may be used."""
    return bool(config.get("linux", {}).get("resources", {}).get("devices"))


def read(config: Config) -> Filter:
    """Return what the rules of a config come to.

    Raises ConfigError for the first rule that the kernel would not take, or would take for another.
    """
    result = Filter(allow=True)
    for index, rule in enumerate(config["linux"]["resources"]["devices"]):
        field = f"config.json: linux.resources.devices[{index}]"
        if "allow" not in rule:
            raise ConfigError(f"{field}.allow: missing")
        access = frozenset(rule.get("access", ""))
        major, minor = rule.get("major", ANY), rule.get("minor", ANY)
        if rule.get("type", "a") == "a":
            if (major, minor) != (ANY, ANY) or access not in (ALL, frozenset()):
                raise ConfigError(
                    f"{field}.type: a means all devices and every access; the kernel would ignore the rest"
                )
            result = Filter(rule["allow"], reset=True)
            continue
        if not access:
            raise ConfigError(f"{field}.access: missing; it is some of r, w and m")
        result = apply(result, Devices(rule["type"], major, minor, access), rule["allow"], field)
    if not result.allow:
        for default in (*MAKING, *DEFAULT):
            result = apply(result, default, True, "")
        return result
    for default in DEFAULT:
        result = apply(result, default, True, "config.json: linux.resources.devices")
    return result


def apply(filter: Filter, rule: Devices, allow: bool, field: str) -> Filter:
    """Return the filter with one more rule.

    Raises ConfigError where the rule takes back part of an exception, which version 1 cannot express.
    """
    if allow != filter.allow:
        same = next((old for old in filter.exceptions if old.covers(rule) and rule.covers(old)), None)
        if same is None:
            return replace(filter, exceptions=(*filter.exceptions, rule))
        merged = replace(same, access=same.access | rule.access)
        return replace(filter, exceptions=tuple(merged if old is same else old for old in filter.exceptions))
    kept = []
    for old in filter.exceptions:
        if rule.covers(old):
            old = replace(old, access=old.access - rule.access)
        elif rule.meets(old) and rule.access & old.access:
            raise ConfigError(f"{field}: {rule} takes back part of the earlier rule {old}, which the kernel cannot do")
        if old.access:
            kept.append(old)
    return replace(filter, exceptions=tuple(kept))


def lines(filter: Filter) -> list[tuple[str, str]]:
    """Return what is written into which file of version 1."""
    files = {True: "devices.allow", False: "devices.deny"}
    written = [(files[filter.allow], "a")] if filter.reset else []
    return written + [(files[not filter.allow], str(exception)) for exception in filter.exceptions]


# Instructions, by the names of the kernel: Documentation/bpf/standardization/instruction-set.rst
LDX_W, MOV32_K, MOV32_X, AND32_K, RSH32_K, JEQ32_K, JNE32_K, EXIT = 0x61, 0xB4, 0xBC, 0x54, 0x74, 0x16, 0x56, 0x95
RESULT, CONTEXT, TYPE, ACCESS, MAJOR, MINOR = range(6)  # registers; the context's is free once it has been read


def program(filter: Filter) -> bytes:
    """Return the program that gives the verdict of the list, 1 for allowed: the first exception that fits decides."""
    code = [
        _instruction(LDX_W, TYPE, CONTEXT, offset=0),
        _instruction(MOV32_X, ACCESS, TYPE),
        _instruction(AND32_K, TYPE, constant=0xFFFF),
        _instruction(RSH32_K, ACCESS, constant=16),
        _instruction(LDX_W, MAJOR, CONTEXT, offset=4),
        _instruction(LDX_W, MINOR, CONTEXT, offset=8),
    ]
    for exception in filter.exceptions:
        code += _test(exception, filter.allow)
    code += [_instruction(MOV32_K, RESULT, constant=int(filter.allow)), _instruction(EXIT)]
    return b"".join(code)


def _test(exception: Devices, deny: bool) -> list[bytes]:
    """Return the instructions for one exception: each condition that does not hold jumps behind them.

    An exception allows only what has all its accesses in it, and denies what has any: security/device_cgroup.c.
    """
    named = sum(BITS[letter] for letter in exception.access)
    conditions: list[tuple[int, int, int]] = [(JNE32_K, TYPE, TYPES[exception.type])]
    conditions += [(JNE32_K, MAJOR, exception.major)] if exception.major != ANY else []
    conditions += [(JNE32_K, MINOR, exception.minor)] if exception.minor != ANY else []
    masked = [
        _instruction(MOV32_X, CONTEXT, ACCESS),
        _instruction(AND32_K, CONTEXT, constant=named if deny else sum(BITS.values()) - named),
    ]
    verdict = [_instruction(MOV32_K, RESULT, constant=int(not deny)), _instruction(EXIT)]
    rest = [*masked, _instruction(JEQ32_K if deny else JNE32_K, CONTEXT, offset=len(verdict), constant=0), *verdict]
    code = rest
    for operation, register, constant in reversed(conditions):
        code = [_instruction(operation, register, offset=len(code), constant=constant), *code]
    return code


def _instruction(operation: int, target: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("=BBhi", operation, source << 4 | target, offset, constant)


def limit(config: Config, path: str, version: int) -> Step:
    """Put the filter on a cgroup, from the host's side; it goes when the cgroup is removed."""
    filter = read(config)
    if version == 1:
        calls: tuple[Call, ...] = ()
        for file, text in lines(filter):
            calls += (
                Call("openat", (AT_FDCWD, f"{path}/{file}", O.WRONLY | O.CLOEXEC), saves="file"),
                Call("write", (Saved("file"), text, len(text))),
                Call("close", (Saved("file"),)),
            )
        return Step("limit:devices", "in force before the first instruction: cgroups(7)", calls)
    load, attach = _load(filter), _attach()
    calls = (
        Call("openat", (AT_FDCWD, path, O.DIRECTORY | O.CLOEXEC), saves="cgroup"),
        Call("bpf", (BPF.PROG_LOAD, load, load.size), saves="program"),
        Call("bpf", (BPF.PROG_ATTACH, attach, attach.size)),
        Call("close", (Saved("program"),)),
        Call("close", (Saved("cgroup"),)),
    )
    return Step("limit:devices", "version 2 asks a program instead of a list, beside those above it: bpf(2)", calls)


def _load(filter: Filter) -> Record:
    """Return the `union bpf_attr` that loads the program."""
    code = program(filter)
    shown = "; ".join(map(str, filter.exceptions))
    words = f"{'allow' if filter.allow else 'deny'} all{' but ' + shown if shown else ''}"
    return Record(
        (
            ("I", BPF_PROG_TYPE_CGROUP_DEVICE),
            ("I", len(code) // 8),
            ("Q", Packed(code, words)),
            ("Q", Packed(b"Apache-2.0\0", "license")),
            ("I", 0),
            ("I", 0),
            ("Q", 0),
            ("I", 0),
            ("I", 0),
            ("16s", b"isoproof"),
            ("I", 0),
            ("I", BPF_CGROUP_DEVICE),
        )
    )


def _attach() -> Record:
    return Record((("I", Saved("cgroup")), ("I", Saved("program")), ("I", BPF_CGROUP_DEVICE), ("I", BPF_F_ALLOW_MULTI)))
