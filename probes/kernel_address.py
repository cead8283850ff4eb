"""Hands waitid(2) an address of the kernel's own to write its answer to."""

from __future__ import annotations

import os

import _kernel

P_ALL, WEXITED = 0, 4


def observe(address: int) -> dict[str, object]:
    """Report how it ended; there is a child to tell of, or the kernel would not come to the address at all."""
    if os.fork() == 0:
        os._exit(0)
    return _kernel.attempt_syscall("waitid", P_ALL, 0, address, WEXITED, None)
