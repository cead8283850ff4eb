"""Fifteen ways to reach a process by its number: signals, scheduling, limits, memory, tracing.

Nothing is changed: the signal is 0, limits and priorities are only read, and a tracer's hold ends with
the probe. Where no such process exists in this pid namespace the kernel answers ESRCH before it looks at
anything else (pid_namespaces(7)), so arguments that would fail later (EFAULT, EPERM) show that it was
found.
"""

from __future__ import annotations

import ctypes
import os
import struct

import _kernel
from _kernel import attempt_syscall

SI_QUEUE = -1  # siginfo_t.si_code of a signal sent by a process, sigaction(2)


def observe(pid: int) -> dict[str, object]:
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(buffer), 8)  # struct iovec: base, length
    siginfo = struct.pack("iii", 0, 0, SI_QUEUE).ljust(128, b"\0")
    return {
        "kill": attempt_syscall("kill", pid, 0),
        "tgkill": attempt_syscall("tgkill", pid, pid, 0),
        "rt_sigqueueinfo": attempt_syscall("rt_sigqueueinfo", pid, 0, siginfo),
        "pidfd_open": _kernel.attempt(lambda: os.close(_kernel.syscall("pidfd_open", pid, 0))),
        "sched_getaffinity": attempt_syscall("sched_getaffinity", pid, 1024, bytearray(1024)),
        "sched_getscheduler": attempt_syscall("sched_getscheduler", pid),
        "getpriority": attempt_syscall("getpriority", _kernel.PRIO_PROCESS, pid),
        "getpgid": attempt_syscall("getpgid", pid),
        "getsid": attempt_syscall("getsid", pid),
        "prlimit64": attempt_syscall("prlimit64", pid, _kernel.RLIMIT_NOFILE, None, bytearray(16)),
        "ioprio_get": attempt_syscall("ioprio_get", _kernel.IOPRIO_WHO_PROCESS, pid),
        "process_vm_readv": attempt_syscall("process_vm_readv", pid, vector, 1, vector, 1, 0),
        "kcmp": attempt_syscall("kcmp", os.getpid(), pid, _kernel.KCMP_VM, 0, 0),
        "get_robust_list": attempt_syscall("get_robust_list", pid, bytearray(8), bytearray(8)),
        "ptrace_seize": attempt_syscall("ptrace", _kernel.PTRACE_SEIZE, pid, 0, 0),
    }
