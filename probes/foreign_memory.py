"""Attempts to read the memory of a process by its number, and to trace it: process_vm_readv(2), ptrace(2)."""

from __future__ import annotations

import ctypes
import os
import struct

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def observe(pid: int, address: int, length: int) -> dict[str, object]:
    """Report `seize`, and of `copied` and `memory` (/proc/PID/mem) the errno and the text that was read.

    A tracer's hold ends with the probe.
    """
    return {
        "seize": _kernel.attempt_syscall("ptrace", _kernel.PTRACE_SEIZE, pid, 0, 0),
        "copied": _read(lambda: _copy(pid, address, length)),
        "memory": _read(lambda: _open(pid, address, length)),
    }


def _read(action: Callable[[], bytes]) -> dict[str, object]:
    try:
        return {"errno": None, "text": action().decode(errors="backslashreplace")}
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "text": None}


def _copy(pid: int, address: int, length: int) -> bytes:
    buffer = ctypes.create_string_buffer(length)
    here = struct.pack("QQ", ctypes.addressof(buffer), length)  # struct iovec: base, length
    there = struct.pack("QQ", address, length)
    _kernel.syscall("process_vm_readv", pid, here, 1, there, 1, 0)
    return buffer.raw


def _open(pid: int, address: int, length: int) -> bytes:
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, length, address)
    finally:
        os.close(descriptor)
