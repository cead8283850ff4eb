"""libseccomp as the oracle: what other runtimes make of a filter."""

import ctypes
import errno
import os
from typing import Any

from harness.filters import action, disassemble
from harness.runtime.seccomp import ARCHITECTURES, Instruction
from harness.runtime.seccomp_numbers import OPERATORS

TOKENS = {name: value.audit if name != "SCMP_ARCH_X32" else 0x4000003E for name, value in ARCHITECTURES.items()}

NO_SUCH_CALL = -1  # __NR_SCMP_ERROR


class scmp_arg_cmp(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Oracle:
    """libseccomp, driven as runc drives it; OSError where it is not installed.

    `refused` are the calls that some rule of the last profile was not taken for, since another one contradicts it. runc
    goes no further then; here the filter is what the other rules make it.
    """

    refused: frozenset[str] = frozenset()

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

    def knows(self, name: str) -> bool:
        """Return whether any architecture has a call of this name, as far as it knows."""
        return int(self.library.seccomp_syscall_resolve_name(name.encode())) != NO_SUCH_CALL

    def compile(self, section: dict[str, Any]) -> tuple[Instruction, ...]:
        """Compile `linux.seccomp`."""
        self.refused = frozenset()
        default = action(section["defaultAction"], section.get("defaultErrnoRet"))
        context = self.library.seccomp_init(default)
        assert context, f"{default:#x} is not taken"
        try:
            for name in section.get("architectures", []):
                assert self.library.seccomp_arch_add(context, TOKENS[name]) in (0, -errno.EEXIST)
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
            for group in groups if number != NO_SUCH_CALL else []:
                array = (scmp_arg_cmp * max(1, len(group)))(*group)
                code = self.library.seccomp_rule_add_array(context, result, number, len(group), array)
                assert code in (0, -errno.EEXIST), (name, code)
                if code:
                    self.refused |= {name}
