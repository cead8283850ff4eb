"""Arguments that a filter sees whole and the kernel cuts to 32 bits: with the high half clear, and with a bit in it.

`socket` asks for AF_VSOCK, and `domain` is what the socket turned out to be; `clone` asks for a user namespace.
"""

from __future__ import annotations

import os

import _kernel

AF_VSOCK, SOCK_STREAM = 40, 1
SOL_SOCKET, SO_DOMAIN = 1, 39
SIGCHLD = 17
CLONE_FLAGS = _kernel.CLONE_NEWUSER | SIGCHLD


def observe() -> dict[str, object]:
    return {
        "socket": {"clean": _socket(AF_VSOCK), "wide": _socket(1 << 32 | AF_VSOCK)},
        "clone": {
            "clean": _kernel.outcome(lambda: _clone(CLONE_FLAGS)),
            "wide": _kernel.outcome(lambda: _clone(1 << 40 | CLONE_FLAGS)),
        },
    }


def _socket(family: int) -> dict[str, object]:
    try:
        descriptor = _kernel.syscall("socket", family, SOCK_STREAM, 0)
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "domain": None}
    domain = bytearray(4)
    _kernel.syscall("getsockopt", descriptor, SOL_SOCKET, SO_DOMAIN, domain, bytearray(b"\4\0\0\0"))
    os.close(descriptor)
    return {"errno": None, "domain": int.from_bytes(domain, "little")}


def _clone(flags: int) -> dict[str, object]:
    child = _kernel.syscall("clone", flags, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return {"errno": None}
