"""Fills pipes with data that nobody reads: memory of the kernel's, on behalf of a process."""

from __future__ import annotations

import mmap
import os

import _kernel

MEBIBYTE = 1 << 20
BALLAST = 8
F_SETPIPE_SZ = 1031


def observe(pipes: int) -> dict[str, object]:
    """Report `filled`, the bytes in pipes of 1 MiB, and what stopped it: `errno`, `ended_by` or neither."""
    progress = mmap.mmap(-1, 8)  # shared, so it outlives the child
    outcome = _kernel.in_child(lambda: _fill(pipes, progress), deadline=10.0)
    return {
        "filled": int.from_bytes(progress[:8], "little"),
        "ended_by": outcome.get("ended_by"),
        "errno": outcome.get("errno"),
    }


def _fill(pipes: int, progress: mmap.mmap) -> dict[str, object]:
    # Memory of pipes belongs to no process: without some of its own, this one would not be the likeliest victim.
    ballast = mmap.mmap(-1, BALLAST * MEBIBYTE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(ballast), mmap.PAGESIZE):
        ballast[page] = 1
    block = bytes(MEBIBYTE)
    filled = 0
    for _ in range(pipes):
        _, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _kernel.syscall("fcntl", writer, F_SETPIPE_SZ, MEBIBYTE)
        filled += os.write(writer, block)
        progress[:8] = filled.to_bytes(8, "little")
    return {}
