"""Fills every writable tmpfs, one after the other: files there are memory."""

from __future__ import annotations

import mmap
import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

MEBIBYTE = 1 << 20
BALLAST = 8
NAME = "isoproof-filling"


def observe(mebibytes: int) -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report in `filled`, for each writable tmpfs, the bytes `written` and what stopped it.

    What stopped it is `errno`, `ended_by`, or neither. The files are removed, then the host looks at what is
    still charged. The writer holds some memory besides: when it is killed for pages that stay until the file
    is removed, that memory is what the others live on meanwhile.
    """
    filled: dict[str, object] = {}
    for point in _writable():
        filled[point] = _fill(f"{point}/{NAME}", mebibytes)
    yield {"filled": filled}
    return {"filled": filled}


def _fill(path: str, mebibytes: int) -> dict[str, object]:
    progress = mmap.mmap(-1, 8)  # shared, so it outlives the child
    outcome = _kernel.in_child(lambda: _write(path, mebibytes, progress), deadline=10.0)
    os.unlink(path)
    return {
        "written": int.from_bytes(progress[:8], "little"),
        "ended_by": outcome.get("ended_by"),
        "errno": outcome.get("errno"),
    }


def _writable() -> list[str]:
    return [point for point in _kernel.mount_points("tmpfs") if _can_create(f"{point}/{NAME}")]


def _can_create(path: str) -> bool:
    return _kernel.attempt_open(path, os.O_CREAT | os.O_WRONLY)["errno"] is None


def _write(path: str, mebibytes: int, progress: mmap.mmap) -> dict[str, object]:
    ballast = mmap.mmap(-1, BALLAST * MEBIBYTE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(ballast), mmap.PAGESIZE):
        ballast[page] = 1
    block = bytes(MEBIBYTE)
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    written = 0
    while written < mebibytes * MEBIBYTE:
        written += os.write(file, block)
        progress[:8] = written.to_bytes(8, "little")
    return {}
