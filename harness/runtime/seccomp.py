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
from dataclasses import dataclass, field

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

# How the low half of an argument is compared; for which operators a comparison that holds means that the condition does
# not, and for which the high half decides unless it is equal.
LAST_COMPARISON = {
    "SCMP_CMP_EQ": JUMP_EQUAL,
    "SCMP_CMP_NE": JUMP_EQUAL,
    "SCMP_CMP_MASKED_EQ": JUMP_EQUAL,
    "SCMP_CMP_GT": JUMP_GREATER,
    "SCMP_CMP_LE": JUMP_GREATER,
    "SCMP_CMP_GE": JUMP_GREATER_OR_EQUAL,
    "SCMP_CMP_LT": JUMP_GREATER_OR_EQUAL,
}
NEGATED = ("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE")
ORDERED = ("SCMP_CMP_GT", "SCMP_CMP_GE", "SCMP_CMP_LT", "SCMP_CMP_LE")

# Offsets in struct seccomp_data; of each argument the low half comes first.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
LOW = 0xFFFFFFFF

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

    @property
    def is_wide(self) -> bool:
        """Whether the high half counts, where there is one."""
        return self.operator != "SCMP_CMP_MASKED_EQ" or self.mask > LOW


@dataclass(frozen=True, slots=True)
class Rule:
    """What the filter returns where all conditions hold; `place` is that among the rules of the config."""

    conditions: tuple[Condition, ...]
    action: int
    place: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """Rules to be tried in turn, the last without conditions; whether both halves of an argument count is `wide`."""

    rules: tuple[Rule, ...]
    wide: bool = False


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
    entrance = assembly.answer(_always_answer(ACTIONS["SCMP_ACT_KILL_THREAD"]))
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
        self._answers: dict[Answer, int] = {}

    def code(self) -> Code:
        """Return the program."""
        return tuple(reversed(self._reversed))

    def add(self, instruction: Instruction, goal: int) -> int:
        """Write an instruction that is to be followed by what is at a place; return its own place."""
        if self._distance(goal):
            self._jump(goal)
        self._reversed.append(instruction)
        return len(self._reversed) - 1

    def branch(self, operation: int, operand: int, yes: int, no: int) -> int:
        """Write a comparison that goes on at one of two places; return its own place."""
        if self._distance(no) >= FARTHEST:  # one less than can be, for the other goal may want a jump, too
            no = self._jump(no)
        if self._distance(yes) >= FARTHEST:
            yes = self._jump(yes)
        self._reversed.append((operation, self._distance(yes), self._distance(no), operand))
        return len(self._reversed) - 1

    def tree(self, ranges: list[tuple[int, Answer]]) -> int:
        """Write a binary search for the range of the number that has been loaded; return its place."""
        if len(ranges) == 1:
            return self.answer(ranges[0][1])
        middle = len(ranges) // 2
        halves = ranges[middle:], ranges[:middle]
        if len(halves[0]) == 1:  # it comes last, and so is near: what is written before may be long
            no, yes = self.tree(halves[1]), self.tree(halves[0])
        else:
            yes, no = self.tree(halves[0]), self.tree(halves[1])
        return self.branch(JUMP_GREATER_OR_EQUAL, ranges[middle][0], yes, no)

    def answer(self, answer: Answer) -> int:
        """Write what tries the rules in turn; return its place, which may be that of the same answer to others."""
        place = self._answers.get(answer)
        if place is None or self._distance(place) > FARTHEST:
            *others, last = answer.rules
            if others:
                place = self.answer(_always_answer(last.action))
            else:
                self._reversed.append((RETURN, 0, 0, last.action))
                place = len(self._reversed) - 1
            for rule in reversed(others):
                goal, otherwise = self.answer(_always_answer(rule.action)), place
                for condition in reversed(rule.conditions):
                    goal = self._compare(condition, answer.wide, goal, otherwise)
                place = goal
            self._answers[answer] = place
        return place

    def _compare(self, condition: Condition, wide: bool, match: int, miss: int) -> int:
        """Write the comparison of an argument: the high half first, which decides unless it is equal."""
        high, low = condition.value >> 32, condition.value & LOW
        mask_high, mask_low = condition.mask >> 32, condition.mask & LOW
        yes, no = (miss, match) if condition.operator in NEGATED else (match, miss)
        place = self.branch(LAST_COMPARISON[condition.operator], low, yes, no)
        if condition.operator == "SCMP_CMP_MASKED_EQ" and mask_low != LOW:
            place = self.add((AND, 0, 0, mask_low), place)
        place = self.add((LOAD, 0, 0, ARGUMENTS + 8 * condition.index), place)
        if not (wide and condition.is_wide):
            return place
        place = self.branch(JUMP_EQUAL, high, place, no)
        if condition.operator in ORDERED:
            place = self.branch(JUMP_GREATER, high, yes, place)
        if condition.operator == "SCMP_CMP_MASKED_EQ":
            place = self.add((AND, 0, 0, mask_high), place)
        return self.add((LOAD, 0, 0, ARGUMENTS + 8 * condition.index + 4), place)

    def _distance(self, place: int) -> int:
        """Return how many instructions are to be skipped to get there from the one that is written next."""
        return len(self._reversed) - 1 - place

    def _jump(self, place: int) -> int:
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
            rules[name] += [Rule(alternative, action, index) for alternative in alternatives]
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


def _ranges(audit: int, listed: set[str], rules: dict[str, list[Rule]], default: int) -> list[tuple[int, Answer]]:
    """Return the answer for every number: where each range begins, and the answer to the numbers in it."""
    usual = _always_answer(default)
    killed = _always_answer(ACTIONS["SCMP_ACT_KILL_THREAD"])
    ranges = [(0, killed)]
    for name, architecture in ARCHITECTURES.items():
        if architecture.audit != audit:
            continue
        if name not in listed:
            ranges.append((architecture.first, killed))
            continue
        ranges.append((architecture.first, usual))
        for number, found in sorted(_by_number(name, rules, default).items()):
            ranges += [(number, _answer(found, default, architecture.wide)), (number + 1, usual)]
    ranges.append((SKIPPED, usual))
    merged: list[tuple[int, Answer]] = []
    for start, answer in dict(ranges).items():  # of two that begin at the same number the later one counts
        if not merged or merged[-1][1] != answer:
            merged.append((start, answer))
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
                Rule((chosen,), rule.action, rule.place)
                for rule in _effective(rules[name], wide=False)
                if not rule.conditions or _strictness(rule.action) < _strictness(default)
            ]
    for those in found.values():
        those.sort(key=lambda rule: rule.place)  # a multiplexer has rules for several names
    return found


def _strictness(action: int) -> int:
    """Return the rank of an action, the strictest first; two of the same kind differ in their errno alone."""
    return list(ACTIONS.values()).index(action & 0xFFFF0000)


def _effective(rules: list[Rule], wide: bool) -> list[Rule]:
    """Return the rules that can come to bear: the first without conditions is the only one, where there is one."""
    halves = LOW << 32 | LOW if wide else LOW
    kept = [
        Rule(
            tuple(condition for condition in rule.conditions if not _always(condition, halves)), rule.action, rule.place
        )
        for rule in rules
    ]
    return [rule for rule in kept if not rule.conditions][:1] or kept


def _always(condition: Condition, halves: int) -> bool:
    return condition.operator == "SCMP_CMP_MASKED_EQ" and not condition.mask & halves


def _always_answer(action: int) -> Answer:
    return Answer((Rule((), action),))


def _answer(rules: list[Rule], default: int, wide: bool) -> Answer:
    """Return the answer that rules give; one without conditions is the last to be tried."""
    found = [*_effective(rules, wide), Rule((), default)]
    last = next(index for index, rule in enumerate(found) if not rule.conditions)
    tried = found[: last + 1]
    return Answer(tuple(tried), wide and any(condition.is_wide for rule in tried for condition in rule.conditions))
