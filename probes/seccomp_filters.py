"""The filters that a process is under, as the kernel has them: dumped by PTRACE_SECCOMP_GET_FILTER.

`programs` are in hexadecimal digits, the last installed first; `errno` is what kept them from being read. It takes
CAP_SYS_ADMIN in the first user namespace, a kernel with CONFIG_CHECKPOINT_RESTORE, and an observer without a filter.
"""

from __future__ import annotations

import os

import _kernel

PTRACE_INTERRUPT, PTRACE_SECCOMP_GET_FILTER = 0x4207, 0x420C
WALL = 0x40000000  # __WALL: whatever signal it would end with, see wait4(2)
INSTRUCTION = 8  # bytes of a struct sock_filter


def observe(pid: int) -> dict[str, object]:
    programs: list[str] = []
    machine = _kernel.machine()
    try:
        _kernel.syscall("ptrace", _kernel.PTRACE_SEIZE, pid, 0, 0)
        try:
            _kernel.syscall("ptrace", PTRACE_INTERRUPT, pid, 0, 0)
            os.waitpid(pid, WALL)  # a tracee is waited for like a child
            while True:
                length = _kernel.syscall("ptrace", PTRACE_SECCOMP_GET_FILTER, pid, len(programs), None)
                program = bytearray(length * INSTRUCTION)
                _kernel.syscall("ptrace", PTRACE_SECCOMP_GET_FILTER, pid, len(programs), program)
                programs.append(program.hex())
        finally:
            _kernel.syscall("ptrace", _kernel.PTRACE_DETACH, pid, 0, 0)
    except OSError as error:
        name = _kernel.errno_name(error.errno)
        if name != "ENOENT":  # which says that there is no further one
            return {"errno": name, "programs": programs, "machine": machine}
    return {"errno": None, "programs": programs, "machine": machine}
