"""Fills pipes with data that nobody reads: memory of the kernel's, on behalf of a process."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1 << 20
F_SETPIPE_SZ = 1031


def observe(pipes: int) -> dict[str, object]:
    """Report the bytes `written` into pipes of 1 MiB, and what stopped it: `errno`, `ended_by` or neither."""
    return _kernel.fill(_large_pipes(pipes))


def _large_pipes(count: int) -> Iterator[int]:
    for _ in range(count):
        _, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _kernel.syscall("fcntl", writer, F_SETPIPE_SZ, MEBIBYTE)
        yield writer
