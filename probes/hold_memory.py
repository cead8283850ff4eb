"""Takes memory that cannot be swapped out, or is in no process: mlock(2), memfd_secret(2), memfd_create(2)."""

from __future__ import annotations

import mmap
import os

import _kernel

MEBIBYTE = 1 << 20
BALLAST = 8


def observe(locked: int, filled: int) -> dict[str, object]:
    """Report the errnos of locking so many MiB, by `lock` and as `secret`, and what stopped a `file` of so many MiB.

    Of the last it tells how many bytes were `written`, `errno`, and `ended_by`. The writer holds some memory besides:
    pages of a file belong to nobody, and it shall be the likeliest victim.
    """
    progress = mmap.mmap(-1, 8)  # shared, so it outlives the child
    outcome = _kernel.in_child(lambda: _fill(filled, progress))
    return {
        "lock": _kernel.in_child(lambda: _lock(locked * MEBIBYTE)),
        "secret": _kernel.in_child(lambda: _map_secret(locked * MEBIBYTE)),
        "file": {
            "written": int.from_bytes(progress[:8], "little"),
            "ended_by": outcome.get("ended_by"),
            "errno": outcome.get("errno"),
        },
    }


def _lock(size: int) -> dict[str, object]:
    return _kernel.attempt_syscall("mlock", bytearray(size), size)


def _map_secret(size: int) -> dict[str, object]:
    secret = _kernel.syscall("memfd_secret", 0)
    os.ftruncate(secret, size)
    return _kernel.attempt(lambda: mmap.mmap(secret, size))


def _fill(mebibytes: int, progress: mmap.mmap) -> dict[str, object]:
    ballast = mmap.mmap(-1, BALLAST * MEBIBYTE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(ballast), mmap.PAGESIZE):
        ballast[page] = 1
    file = os.memfd_create("isoproof-filling")
    block = bytes(MEBIBYTE)
    written = 0
    while written < mebibytes * MEBIBYTE:
        written += os.write(file, block)
        progress[:8] = written.to_bytes(8, "little")
    return {}
