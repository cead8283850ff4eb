"""Which system calls the program may make: `linux.seccomp`, compiled to a classic BPF program. seccomp(2).

The program is a tree, for its depth is what each call costs, and what installing it costs too: the kernel tries every
number once. Neighbouring numbers with the same answer are one range, and a binary search finds the range.

What the runtime-spec leaves open is answered as by libseccomp, which other runtimes use. A call from an architecture
that is not listed kills its thread, x32 included. A rule without conditions beats all others for the same call.
Conditions of one rule on the same argument are alternatives. On 32 bit architectures, x32 included, only the low halves
of arguments are compared. Between rules whose conditions overlap, the first wins. One thing is stricter: a filter
cannot look behind the pointer that socketcall(2) and ipc(2) take on i386, so a rule with conditions never allows what
goes through them, and always denies it.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from harness.runtime import listener
from harness.runtime.config import Config
from harness.runtime.errors import ConfigError
from harness.runtime.seccomp_numbers import ACTIONS, MULTIPLEXED, X32_SYSCALL_BIT, numbers
from harness.runtime.step import Call, Host, Program, Step
from harness.runtime.syscalls import SECCOMP, SECCOMP_FILTER_FLAG

# struct sock_filter: operation, how many instructions to skip if true, if false, operand. include/uapi/linux/filter.h
Instruction = tuple[int, int, int, int]
Code = tuple[Instruction, ...]
LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL = 0x05, 0x15, 0x25, 0x35
FARTHEST = 255  # that a conditional jump can skip
LONGEST = 4096  # program that the kernel takes: BPF_MAXINSNS

# Offsets in struct seccomp_data; of each argument the low half comes first.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
LOW = 0xFFFFFFFF

# Where a comparison goes that is not yet placed in its rule.
NEXT, MATCH, MISS = 0, -1, -2

EPERM = 1
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
SKIPPED = 0xFFFFFFFF  # the number of a call that a tracer has made void: no call of any architecture


@dataclass(frozen=True, slots=True)
class Architecture:
    """How the kernel tells a call's architecture: AUDIT_ARCH of linux/audit.h, and the first of its numbers."""

    audit: int
    wide: bool
    first: int = 0


ARCHITECTURES = {
    "SCMP_ARCH_X86_64": Architecture(0xC000003E, wide=True),
    "SCMP_ARCH_X32": Architecture(0xC000003E, wide=False, first=X32_SYSCALL_BIT),
    "SCMP_ARCH_X86": Architecture(0x40000003, wide=False),
    "SCMP_ARCH_AARCH64": Architecture(0xC00000B7, wide=True),
    "SCMP_ARCH_ARM": Architecture(0x40000028, wide=False),
}
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One argument of a call compared with a value; `mask` is for SCMP_CMP_MASKED_EQ alone."""

    index: int
    operator: str
    value: int
    mask: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What the filter returns where all conditions hold."""

    conditions: tuple[Condition, ...]
    action: int


def install_with_privilege(config: Config, host: Host) -> list[Step]:
    """Install the filter before the capabilities go, where `process.noNewPrivileges` does not stand in for them."""
    return [] if config["process"].get("noNewPrivileges") else _install(config, host)


def install_unprivileged(config: Config, host: Host) -> list[Step]:
    """Install the filter last of all, which takes no_new_privs."""
    return _install(config, host) if config["process"].get("noNewPrivileges") else []


def _install(config: Config, host: Host) -> list[Step]:
    section = config.get("linux", {}).get("seccomp")
    if section is None:
        return []
    flags = SECCOMP_FILTER_FLAG(0)
    for name in section.get("flags", []):
        flags |= SECCOMP_FILTER_FLAG[name.removeprefix("SECCOMP_FILTER_FLAG_")]
    program = Program(pack(compile_filter(section, host.machine)))
    notifies = listener.wanted(section)
    if notifies:
        _let_hand_over(section, host.machine)
        flags |= SECCOMP_FILTER_FLAG.NEW_LISTENER
        if SECCOMP_FILTER_FLAG.TSYNC in flags:
            flags |= SECCOMP_FILTER_FLAG.TSYNC_ESRCH  # or the result could be a thread as well as a descriptor
    saves = listener.DESCRIPTOR.name if notifies else ""
    calls = (Call("seccomp", (SECCOMP.SET_MODE_FILTER, flags, program), saves=saves),)
    install = Step("seccomp", "from here on only what the profile allows gets through: seccomp(2)", calls)
    return [install, *(listener.hand_over() if notifies else [])]


def _let_hand_over(section: Config, machine: str) -> None:
    """Raise ConfigError where the profile stands in the way of the calls that hand the listener over.

    There is no way around them: before the filter is in force there is no listener, and nobody who could answer.
    """
    default = _action(section, "defaultAction", "defaultErrnoRet", "")
    native = NATIVE[machine]
    found = _by_number(native, _rules(section, default), default)
    for name in listener.CALLS:
        effective = _effective(found.get(numbers(native)[name], []), ARCHITECTURES[native].wide)
        answers = {rule.action for rule in effective}
        if all(rule.conditions for rule in effective):
            answers.add(default)
        if not answers <= {ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_LOG"]}:
            calls = f"{', '.join(listener.CALLS[:-1])} and {listener.CALLS[-1]}"
            raise _wrong("syscalls", f"{name} is not allowed; with {listener.NOTIFY} the start itself needs {calls}")


def pack(code: Code) -> bytes:
    """Return a program as the kernel takes it."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def compile_filter(section: Config, machine: str) -> Code:
    """Compile `linux.seccomp` for this machine, whose own architecture always counts as listed.

    Raises ConfigError where the section is not whole, or gives a program longer than the kernel takes.
    """
    default = _action(section, "defaultAction", "defaultErrnoRet", "")
    rules = _rules(section, default)
    listed = {NATIVE[machine], *section.get("architectures", [])}
    native = ARCHITECTURES[NATIVE[machine]].audit
    assembly = Assembly()
    entrance = assembly.piece(_return(ACTIONS["SCMP_ACT_KILL_THREAD"]))
    for audit in (*sorted({ARCHITECTURES[name].audit for name in listed} - {native}), native):
        tree = assembly.tree(_ranges(audit, listed, rules, default))
        found = assembly.add((LOAD, 0, 0, NUMBER), tree)
        entrance = assembly.branch(JUMP_EQUAL, audit, found, entrance)  # so that the machine's own comes first
    assembly.add((LOAD, 0, 0, ARCHITECTURE), entrance)
    code = assembly.code()
    if len(code) > LONGEST:
        raise _wrong("syscalls", f"{len(code)} instructions when compiled, and the kernel takes {LONGEST}")
    return code


class Assembly:
    """A program that is written from its end to its beginning, because it may only jump forward.

    A place in it is told by the number of instructions that follow. What is there already and near is not written
    again: it is length above all that costs the kernel time when the program is installed, for it is compiled in
    several passes.
    """

    def __init__(self) -> None:
        self._reversed: list[Instruction] = []
        self._places: dict[Code, int] = {}

    def code(self) -> Code:
        """Return the program."""
        return tuple(reversed(self._reversed))

    def piece(self, code: Code) -> int:
        """Return the place of a piece that ends in a return, which may have been written for somebody else."""
        place = self._places.get(code)
        if place is None or self._distance(place) > FARTHEST:
            self._reversed += reversed(code)
            place = self._places[code] = len(self._reversed) - 1
        return place

    def add(self, instruction: Instruction, goal: int) -> int:
        """Write an instruction that is to be followed by what is at a place; return its own."""
        if distance := self._distance(goal):
            self._reversed.append((JUMP, 0, 0, distance))
        self._reversed.append(instruction)
        return len(self._reversed) - 1

    def branch(self, operation: int, operand: int, yes: int, no: int) -> int:
        """Write a comparison that goes on at one of two places; return its own place."""
        if self._distance(no) >= FARTHEST:  # one less than can be, for the other goal may want a jump, too
            no = self._nearer(no)
        if self._distance(yes) >= FARTHEST:
            yes = self._nearer(yes)
        return self.add((operation, self._distance(yes), self._distance(no), operand), len(self._reversed) - 1)

    def tree(self, ranges: list[tuple[int, Code]]) -> int:
        """Write a binary search for the range of the number that has been loaded; return its place."""
        if len(ranges) == 1:
            return self.piece(ranges[0][1])
        middle = len(ranges) // 2
        upper, lower = ranges[middle:], ranges[:middle]
        if len(upper) == 1:  # last, so that it is near
            no = self.tree(lower)
            yes = self.tree(upper)
        else:
            yes = self.tree(upper)
            no = self.tree(lower)
        return self.branch(JUMP_GREATER_OR_EQUAL, ranges[middle][0], yes, no)

    def _distance(self, place: int) -> int:
        """Return how many instructions are to be skipped to get there from the one that is written next."""
        return len(self._reversed) - 1 - place

    def _nearer(self, place: int) -> int:
        self._reversed.append((JUMP, 0, 0, self._distance(place)))
        return len(self._reversed) - 1


def _rules(section: Config, default: int) -> dict[str, list[Rule]]:
    """Return the rules for each name, in the order of the config."""
    rules: dict[str, list[Rule]] = defaultdict(list)
    for index, entry in enumerate(section.get("syscalls", [])):
        place = f"syscalls[{index}]"
        if not entry.get("names"):
            raise _wrong(f"{place}.names", "missing; it lists the system calls")
        action = _action(entry, "action", "errnoRet", f"{place}.")
        if action == default:
            continue  # says nothing, and must not stand in the way of a rule that does
        conditions = [_condition(value, f"{place}.args[{at}]") for at, value in enumerate(entry.get("args", []))]
        alternatives = [tuple(conditions)]
        if len({condition.index for condition in conditions}) < len(conditions):
            alternatives = [(condition,) for condition in conditions]
        for name in entry["names"]:
            rules[name] += [Rule(alternative, action) for alternative in alternatives]
    return rules


def _action(entry: Config, key: str, errno_key: str, place: str) -> int:
    name = entry.get(key)
    if name is None:
        raise _wrong(f"{place}{key}", "missing; it says what happens to the calls")
    if name in WITH_ERRNO:
        return ACTIONS[name] | int(entry.get(errno_key, EPERM))
    if errno_key in entry:
        raise _wrong(f"{place}{errno_key}", f"{name} returns no errno; {' and '.join(WITH_ERRNO)} do")
    return ACTIONS[name]


def _condition(entry: Config, place: str) -> Condition:
    for key in ("index", "value", "op"):
        if key not in entry:
            raise _wrong(f"{place}.{key}", "missing; a condition needs index, value and op")
    if entry["op"] == "SCMP_CMP_MASKED_EQ":
        return Condition(entry["index"], entry["op"], entry.get("valueTwo", 0) & entry["value"], entry["value"])
    return Condition(entry["index"], entry["op"], entry["value"])


def _wrong(field: str, sentence: str) -> ConfigError:
    return ConfigError(f"config.json: linux.seccomp.{field}: {sentence}")


def _ranges(audit: int, listed: set[str], rules: dict[str, list[Rule]], default: int) -> list[tuple[int, Code]]:
    """Return the answer for every number: where each range begins, and the code for the numbers in it."""
    ranges: list[tuple[int, Code]] = [(0, _return(ACTIONS["SCMP_ACT_KILL_THREAD"]))]
    for name, architecture in ARCHITECTURES.items():
        if architecture.audit != audit:
            continue
        if name not in listed:
            ranges.append((architecture.first, _return(ACTIONS["SCMP_ACT_KILL_THREAD"])))
            continue
        ranges.append((architecture.first, _return(default)))
        for number, found in sorted(_by_number(name, rules, default).items()):
            answer = _answer(found, default, architecture.wide)
            ranges += [(number, answer), (number + 1, _return(default))]
    ranges.append((SKIPPED, _return(default)))
    merged: list[tuple[int, Code]] = []
    for start, code in dict(ranges).items():  # of two that begin at the same number the later one counts
        if not merged or merged[-1][1] != code:
            merged.append((start, code))
    return merged


def _by_number(architecture: str, rules: dict[str, list[Rule]], default: int) -> dict[int, list[Rule]]:
    """Return the rules for each number that an architecture has; names that it lacks are passed over."""
    known = numbers(architecture)
    found: dict[int, list[Rule]] = defaultdict(list)
    for name in rules:
        if name in known:
            found[known[name]] += _effective(rules[name], ARCHITECTURES[architecture].wide)
        if architecture == "SCMP_ARCH_X86" and name in MULTIPLEXED:
            multiplexer, call = MULTIPLEXED[name]
            chosen = Condition(0, "SCMP_CMP_EQ", call)
            found[known[multiplexer]] += [
                Rule((chosen,), rule.action)
                for rule in _effective(rules[name], wide=False)
                if not rule.conditions or _strictness(rule.action) < _strictness(default)
            ]
    return found


def _strictness(action: int) -> int:
    """Return the rank of an action, the strictest first; two of the same kind differ in their errno alone."""
    return list(ACTIONS.values()).index(action & 0xFFFF0000)


def _effective(rules: list[Rule], wide: bool) -> list[Rule]:
    """Return the rules that can come to bear: the first without conditions is the only one, where there is one."""
    halves = LOW << 32 | LOW if wide else LOW
    kept = [
        Rule(tuple(condition for condition in rule.conditions if not _always(condition, halves)), rule.action)
        for rule in rules
    ]
    return [rule for rule in kept if not rule.conditions][:1] or kept


def _always(condition: Condition, halves: int) -> bool:
    return condition.operator == "SCMP_CMP_MASKED_EQ" and not condition.mask & halves


def _return(action: int) -> Code:
    return ((RETURN, 0, 0, action),)


def _answer(rules: Iterable[Rule], default: int, wide: bool) -> Code:
    """Return the code that tries rules in turn; a rule without conditions is the last to be tried."""
    code: list[Instruction] = []
    for rule in _effective(list(rules), wide):
        if not rule.conditions:
            return (*code, *_return(rule.action))
        code += _rule(rule, wide)
    return (*code, *_return(default))


def _rule(rule: Rule, wide: bool) -> Code:
    """Return the code that returns the action where all conditions hold, and runs on past its end otherwise."""
    code: list[Instruction] = []
    for condition in rule.conditions:
        compared = _compare(condition, wide)
        code += _placed(compared, MATCH, len(compared))
    code += _return(rule.action)
    return tuple(_placed(code, MISS, len(code)))


def _placed(code: Iterable[Instruction], goal: int, end: int) -> list[Instruction]:
    """Turn jumps to a goal into jumps past the end."""
    return [
        (operation, end - at - 1 if true == goal else true, end - at - 1 if false == goal else false, operand)
        for at, (operation, true, false, operand) in enumerate(code)
    ]


def _compare(condition: Condition, wide: bool) -> list[Instruction]:
    """Return the comparison of an argument: the high half first, which decides unless it is equal."""
    high, low = condition.value >> 32, condition.value & LOW
    load_low = (LOAD, 0, 0, ARGUMENTS + 8 * condition.index)
    load_high = (LOAD, 0, 0, ARGUMENTS + 8 * condition.index + 4)
    negated = condition.operator in ("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE")
    yes, no = (MISS, MATCH) if negated else (MATCH, MISS)
    match condition.operator:
        case "SCMP_CMP_EQ" | "SCMP_CMP_NE":
            upper = [load_high, (JUMP_EQUAL, NEXT, no, high)]
            lower = [load_low, (JUMP_EQUAL, yes, no, low)]
        case "SCMP_CMP_MASKED_EQ":
            upper = [load_high, (AND, 0, 0, condition.mask >> 32), (JUMP_EQUAL, NEXT, no, high)]
            lower = [load_low, (AND, 0, 0, condition.mask & LOW), (JUMP_EQUAL, yes, no, low)]
            if not condition.mask >> 32:
                return lower
        case _:
            last = JUMP_GREATER if condition.operator in ("SCMP_CMP_GT", "SCMP_CMP_LE") else JUMP_GREATER_OR_EQUAL
            upper = [load_high, (JUMP_GREATER, yes, NEXT, high), (JUMP_EQUAL, NEXT, no, high)]
            lower = [load_low, (last, yes, no, low)]
    return [*upper, *lower] if wide else lower
