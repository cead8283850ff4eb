"""A classic BPF machine as the kernel's seccomp has it, and libseccomp as the oracle: two opinions on one filter."""

import ctypes
import os
import struct
from collections.abc import Sequence
from typing import Any

from harness.runtime.seccomp import ARCHITECTURES, EPERM, Instruction
from harness.runtime.seccomp_numbers import ACTIONS, OPERATORS


def disassemble(program: bytes) -> tuple[Instruction, ...]:
    """Return the instructions of a program."""
    return tuple(struct.iter_unpack("=HBBI", program))


def emulate(code: Sequence[Instruction], architecture: int, number: int, arguments: Sequence[int]) -> int:
    """Return what a filter returns for a call; raises where the kernel would not have taken the program."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
    accumulator = index = scratch = 0
    memory = [0] * 16
    for _ in range(len(code)):  # it only jumps forwards, so no instruction runs twice
        operation, true, false, operand = code[index]
        index += 1
        match operation:
            case 0x20:  # ld [k]
                if operand % 4 or operand > 60:
                    raise AssertionError(f"load from {operand}")
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
                raise AssertionError(f"operation {operation:#x}")
    raise AssertionError("the program has no end")


TOKENS = {name: value.audit if name != "SCMP_ARCH_X32" else 0x4000003E for name, value in ARCHITECTURES.items()}


class scmp_arg_cmp(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Oracle:
    """libseccomp, driven as runc drives it; OSError where it is not installed."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self.library.seccomp_init.restype = ctypes.c_void_p
        self.library.seccomp_init.argtypes = [ctypes.c_uint32]
        self.library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        self.library.seccomp_release.argtypes = [ctypes.c_void_p]
        self.library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self.library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
        rule = self.library.seccomp_rule_add_array
        rule.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(scmp_arg_cmp)]

    def number(self, architecture: str, name: str) -> int:
        """Return the number of a call, negative where the architecture lacks it."""
        return int(self.library.seccomp_syscall_resolve_name_arch(TOKENS[architecture], name.encode()))

    def compile(self, section: dict[str, Any]) -> tuple[Instruction, ...]:
        """Compile `linux.seccomp`."""
        default = action(section["defaultAction"], section.get("defaultErrnoRet"))
        context = self.library.seccomp_init(default)
        try:
            for name in section.get("architectures", []):
                assert self.library.seccomp_arch_add(context, TOKENS[name]) in (0, -17)
            for entry in section.get("syscalls", []):
                self._add(context, entry, default)
            file = os.memfd_create("program")
            try:
                assert self.library.seccomp_export_bpf(context, file) == 0
                return disassemble(os.pread(file, 1 << 20, 0))
            finally:
                os.close(file)
        finally:
            self.library.seccomp_release(context)

    def _add(self, context: int, entry: dict[str, Any], default: int) -> None:
        result = action(entry["action"], entry.get("errnoRet"))
        if result == default:
            return
        conditions = [
            scmp_arg_cmp(one["index"], OPERATORS.index(one["op"]) + 1, one["value"], one.get("valueTwo", 0))
            for one in entry.get("args", [])
        ]
        groups = [conditions]
        if len({one.arg for one in conditions}) < len(conditions):
            groups = [[one] for one in conditions]
        for name in entry["names"]:
            number = int(self.library.seccomp_syscall_resolve_name(name.encode()))
            for group in groups if number != -1 else []:
                array = (scmp_arg_cmp * max(1, len(group)))(*group)
                code = self.library.seccomp_rule_add_array(context, result, number, len(group), array)
                assert code in (0, -17), (name, code)


def action(name: str, errno: int | None) -> int:
    """Return an action as the kernel has it."""
    value = ACTIONS[name]
    return value | (EPERM if errno is None else errno) if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else value
