"""Takes memory that cannot be swapped out, or is in no process: mlock(2), memfd_secret(2), memfd_create(2)."""

from __future__ import annotations

import mmap
import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1 << 20


def observe(locked: int, filled: int) -> dict[str, object]:
    """Report the errnos of locking so many MiB, by `lock` and as `secret`, and what stopped a `file` of so many MiB.

    Of the last it tells how many bytes were `written`, `errno`, and `ended_by`.
    """
    return {
        "lock": _kernel.in_child(lambda: _lock(locked * MEBIBYTE)),
        "secret": _kernel.in_child(lambda: _map_secret(locked * MEBIBYTE)),
        "file": _kernel.fill(_one_file(filled)),
    }


def _lock(size: int) -> dict[str, object]:
    return _kernel.attempt_syscall("mlock", bytearray(size), size)


def _map_secret(size: int) -> dict[str, object]:
    secret = _kernel.syscall("memfd_secret", 0)
    os.ftruncate(secret, size)
    return _kernel.attempt(lambda: mmap.mmap(secret, size))


def _one_file(times: int) -> Iterator[int]:
    file = os.memfd_create("isoproof-filling")
    for _ in range(times):
        yield file
