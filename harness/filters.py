"""What a seccomp filter says of a call: in the words of the config that asks for it, and as the kernel runs it.

Two opinions that have nothing in common, so that one can be held to the other: `declared` reads `linux.seccomp` rule by
rule, `emulate` runs a classic BPF program as the kernel does. The compiler of `harness.runtime.seccomp` is neither.
"""

import operator
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from harness.runtime.seccomp import ARCHITECTURES, EPERM, NATIVE, SKIPPED, WITH_ERRNO, Instruction
from harness.runtime.seccomp_numbers import ACTIONS, MULTIPLEXED, X32_SYSCALL_BIT, numbers

COMPARISONS = {
    "SCMP_CMP_NE": operator.ne,
    "SCMP_CMP_LT": operator.lt,
    "SCMP_CMP_LE": operator.le,
    "SCMP_CMP_EQ": operator.eq,
    "SCMP_CMP_GE": operator.ge,
    "SCMP_CMP_GT": operator.gt,
}
MULTIPLEXERS = {multiplexer for multiplexer, _ in MULTIPLEXED.values()}
KILL_THREAD = ACTIONS["SCMP_ACT_KILL_THREAD"]
ERRNO = ACTIONS["SCMP_ACT_ERRNO"]
UNKNOWN_ARCHITECTURE = 0x8000002A  # AUDIT_ARCH_TILEGX, of a machine that is gone
HIGHEST = 511  # below x32's own numbers, above what any architecture has
WORD, HALF = (1 << 64) - 1, (1 << 32) - 1
EDGES = (0, X32_SYSCALL_BIT - 1, X32_SYSCALL_BIT, X32_SYSCALL_BIT << 1, SKIPPED - 1, SKIPPED)

Arguments = tuple[int, ...]  # six words
Call = tuple[int, int, Arguments]  # AUDIT_ARCH of linux/audit.h, number
NOTHING: Arguments = (0,) * 6


def disassemble(program: bytes) -> tuple[Instruction, ...]:
    """Return the instructions of a program."""
    return tuple(struct.iter_unpack("=HBBI", program))


def emulate(code: Sequence[Instruction], architecture: int, number: int, arguments: Sequence[int]) -> int:
    """Return what a filter returns for a call.

    Raises ValueError where the kernel would not have taken the program.
    """
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
    accumulator = index = scratch = 0
    memory = [0] * 16
    for _ in range(len(code)):  # it only jumps forwards, so no instruction runs twice
        operation, true, false, operand = code[index]
        index += 1
        match operation:
            case 0x20:  # ld [k]
                if operand % 4 or operand > 60:
                    raise ValueError(f"load from {operand}")
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x06:  # ret k
                return operand
            case 0x05:  # ja k
                index += operand
            case 0x15:  # jeq
                index += true if accumulator == operand else false
            case 0x25:  # jgt
                index += true if accumulator > operand else false
            case 0x35:  # jge
                index += true if accumulator >= operand else false
            case 0x45:  # jset
                index += true if accumulator & operand else false
            case 0x54:  # and
                accumulator &= operand
            case 0x02:  # st M[k]
                memory[operand] = accumulator
            case 0x60:  # ld M[k]
                accumulator = memory[operand]
            case 0x07:  # tax
                scratch = accumulator
            case 0x87:  # txa
                accumulator = scratch
            case _:
                raise ValueError(f"operation {operation:#x}")
    raise ValueError("the program has no end")


def strictest(answers: Iterable[int]) -> int:
    """Return what the kernel makes of the answers of several filters: seccomp(2)."""
    ranks = list(ACTIONS.values())
    return min(answers, key=lambda answer: ranks.index(answer & 0xFFFF0000))


def place(audit: int, number: int) -> tuple[str, str]:
    """Return the architecture of a call and its name, each empty where there is none."""
    found = [name for name, kind in ARCHITECTURES.items() if kind.audit == audit and kind.first <= number]
    if not found:
        return "", ""
    architecture = found[-1]  # x32, which has the higher numbers of x86_64, comes after it
    return architecture, next((name for name, value in numbers(architecture).items() if value == number), "")


def action(name: str, errno: int | None) -> int:
    """Return an action as the kernel has it."""
    value = ACTIONS[name]
    return value | (EPERM if errno is None else errno) if name in WITH_ERRNO else value


def declared(section: dict[str, Any], name: str, arguments: Sequence[int], wide: bool = True) -> int:
    """Return what a section says of a call, rule by rule; a rule that always holds goes first.

    Conditions of one rule on the same argument are alternatives; where the call is not wide, only low halves count.
    """
    default = action(section["defaultAction"], section.get("defaultErrnoRet"))
    conditional = []
    for rule in section.get("syscalls", []):
        result = action(rule["action"], rule.get("errnoRet"))
        if name not in rule["names"] or result == default:
            continue
        conditions = rule.get("args") or []
        mask = WORD if wide else HALF
        if always_holds(conditions, mask):
            return result
        truths = [_holds(one, arguments, mask) for one in conditions]
        conditional.append((any(truths) if are_alternatives(conditions) else all(truths), result))
    return next((result for true, result in conditional if true), default)


def always_holds(conditions: list[dict[str, Any]], mask: int) -> bool:
    """Return whether a rule with these conditions is as good as one without; of an argument only the mask counts."""
    idle = [one["op"] == "SCMP_CMP_MASKED_EQ" and not one["value"] & mask for one in conditions]
    return any(idle) if are_alternatives(conditions) else all(idle)


def are_alternatives(conditions: list[dict[str, Any]]) -> bool:
    """Return whether one condition of a rule is enough: some are about the same argument."""
    return len({one["index"] for one in conditions}) < len(conditions)


def _holds(condition: dict[str, Any], arguments: Sequence[int], mask: int) -> bool:
    given: int = arguments[condition["index"]] & mask
    value: int = condition["value"] & mask
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        return bool(given & value == condition.get("valueTwo", 0) & value)
    return bool(COMPARISONS[condition["op"]](given, value))


def differences(section: dict[str, Any], programs: Sequence[bytes], machine: str) -> list[str]:
    """Return where the filters in force do not say what the section says, as "x86_64 socket(40, 0, 0): …".

    Tried are all numbers of each architecture, with arguments on, beside and above each value that a rule compares
    with. A call of an architecture that is not listed must end its thread or process.
    """
    code = [disassemble(program) for program in programs]
    if not code:
        return ["there is no filter"]
    listed = {NATIVE[machine], *section.get("architectures", [])}
    found = []
    for architecture, kind in ARCHITECTURES.items():
        short = architecture.removeprefix("SCMP_ARCH_").lower()
        for name, number in _calls(architecture):
            for arguments in corners(section, name):
                actual = strictest(emulate(each, kind.audit, number, arguments) for each in code)
                call = f"{short} {name}({', '.join(map(hex, arguments))})"
                if architecture not in listed:
                    if _is_kill(actual):
                        continue
                    found.append(f"{call}: {spelled(actual)}, of an architecture that is not listed")
                elif actual != (wanted := declared(section, name, arguments, kind.wide)):
                    found.append(f"{call}: {spelled(actual)}, declared {spelled(wanted)}")
    for number in (0, 1, 59, X32_SYSCALL_BIT):
        actual = strictest(emulate(each, UNKNOWN_ARCHITECTURE, number, NOTHING) for each in code)
        if not _is_kill(actual):
            found.append(f"unknown architecture {number}: {spelled(actual)}")
    return found


def spelled(answer: int) -> str:
    """Return what a filter returns in words: "ERRNO 1"."""
    name = next(name for name, value in ACTIONS.items() if value == answer & 0xFFFF0000)
    low = f" {answer & 0xFFFF}" if name in WITH_ERRNO else ""
    return name.removeprefix("SCMP_ACT_") + low


def _is_kill(answer: int) -> bool:
    return answer in (KILL_THREAD, ACTIONS["SCMP_ACT_KILL_PROCESS"])


def _calls(architecture: str) -> list[tuple[str, int]]:
    """Return the calls of an architecture by name, and some numbers that have none; not those that hide others."""
    known = numbers(architecture)
    first = ARCHITECTURES[architecture].first
    free = [number for number in (first + HIGHEST - 1, first + HIGHEST) if number not in known.values()]
    named = [item for item in known.items() if architecture != "SCMP_ARCH_X86" or item[0] not in MULTIPLEXERS]
    return named + [(str(number - first), number) for number in free]


def calls(section: dict[str, Any], architectures: Iterable[str] = ARCHITECTURES) -> list[Call]:
    """Return calls that show how a section is read: those that it names at its corners, and numbers around them."""
    names = dict.fromkeys(name for rule in section.get("syscalls", []) for name in rule["names"])
    found = [(UNKNOWN_ARCHITECTURE, number, NOTHING) for number in EDGES]
    for architecture in architectures:
        audit, known = ARCHITECTURES[architecture].audit, numbers(architecture)
        for name in names:
            if name not in known:
                continue
            number = known[name]
            beside = (number - 1, number + 1, number ^ X32_SYSCALL_BIT)
            found += [(audit, other, NOTHING) for other in (*beside, *EDGES) if other >= 0]
            for arguments in corners(section, name):
                found.append((audit, number, arguments))
                if architecture == "SCMP_ARCH_X86" and name in MULTIPLEXED:
                    multiplexer, chosen = MULTIPLEXED[name]
                    found.append((audit, known[multiplexer], (chosen, *arguments[1:])))
    return list(dict.fromkeys(found))


def corners(section: dict[str, Any], name: str) -> list[Arguments]:
    """Return arguments at which the rules for a call may change their mind.

    They fulfil all conditions of a rule, or all but one, for which there are words around its value.
    """
    found: list[Arguments] = [NOTHING, (WORD,) * 6]
    for rule in section.get("syscalls", []):
        if name in rule["names"]:
            conditions = rule.get("args") or []
            fitting = {one["index"]: _fitting(one) for one in conditions}
            variants = [fitting, *(fitting | {one["index"]: word} for one in conditions for word in _near(one))]
            found += [tuple(words.get(index, 0) for index in range(6)) for words in variants]
    return list(dict.fromkeys(found))


def _fitting(condition: dict[str, Any]) -> int:
    """Return a word for which a condition holds, if there is one."""
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        return int(condition.get("valueTwo", 0))
    step = {"SCMP_CMP_NE": 1, "SCMP_CMP_GT": 1, "SCMP_CMP_LT": -1}.get(condition["op"], 0)
    return (int(condition["value"]) + step) & WORD


def _near(condition: dict[str, Any]) -> list[int]:
    """Return the words around the value of a condition, and some that differ in one half, or in or outside a mask."""
    masked = condition["op"] == "SCMP_CMP_MASKED_EQ"
    value, mask = (condition.get("valueTwo", 0), condition["value"]) if masked else (condition["value"], 1)
    inside, outside = mask & -mask, ~mask & (mask + 1)
    bits = (1, 1 << 31, 1 << 32, 1 << 63, inside, outside)
    words = (value, value - 1, value + 1, value & HALF, value >> 32, *(value ^ bit for bit in bits))
    return [word & WORD for word in words]
