"""Tries every way to make a user namespace: unshare(2), clone(2), clone3(2), and the 32-bit entry of the kernel."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGCHLD = 17
UNSHARE_I386 = 310


def observe() -> dict[str, object]:
    """Report by way the errno, None if a user namespace was made.

    `int80` is "absent" on other machines than x86_64, and "SIGSEGV" where the kernel runs no 32-bit programs.
    """
    return {
        "unshare": _outcome(lambda: _kernel.attempt_syscall("unshare", _kernel.CLONE_NEWUSER)),
        "clone": _outcome(_clone),
        "clone3": _outcome(_clone3),
        "int80": _outcome(_int80) if _kernel.machine() == "x86_64" else "absent",
    }


def _outcome(action: Callable[[], dict[str, object]]) -> object:
    outcome = _kernel.in_child(action)
    return outcome["ended_by"] if "ended_by" in outcome else outcome["errno"]


def _clone() -> dict[str, object]:
    return _born(lambda: _kernel.syscall("clone", _kernel.CLONE_NEWUSER | SIGCHLD, None, None, None, None))


def _clone3() -> dict[str, object]:
    arguments = bytearray(struct.pack("=11Q", _kernel.CLONE_NEWUSER, 0, 0, 0, SIGCHLD, *[0] * 6))
    return _born(lambda: _kernel.syscall("clone3", arguments, len(arguments)))


def _born(clone: Callable[[], int]) -> dict[str, object]:
    pid = clone()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return {"errno": None}


def _int80() -> dict[str, object]:
    """unshare(2) by `int $0x80`, which has numbers of its own, and which a filter must know of."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(
        b"\x53"  # push rbx
        + b"\xbb"
        + struct.pack("<I", _kernel.CLONE_NEWUSER)  # mov ebx, CLONE_NEWUSER
        + b"\xb8"
        + struct.pack("<I", UNSHARE_I386)  # mov eax, 310
        + b"\xcd\x80\x5b\xc3"  # int 0x80; pop rbx; ret
    )
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return {"errno": _kernel.errno_name(-result) if result < 0 else None}
