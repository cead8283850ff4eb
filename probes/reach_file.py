"""Looks for one file of the host wherever a path may lead out: other processes, open descriptors, the whole tree."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 100_000  # directory entries that are looked at
KERNELS = ["/proc", "/sys"]


def observe(path: str, device: int, inode: int) -> dict[str, object]:
    """Report `found`, the paths that lead to this very file, `read`, whether one could be opened, and `complete`.

    The tree is walked only if nothing else has led there. `complete` is false if it was too big.
    """
    found = [way for way in _ways(path) if _kernel.identity(way) == [device, inode]]
    complete = True
    if not found:
        for looked, entry in enumerate(_walk("/")):
            if looked == MOST:
                complete = False
                break
            if _kernel.identity(entry) == [device, inode]:
                found.append(entry)
    opened = any(_kernel.attempt_open(way)["errno"] is None for way in found)
    return {"found": found, "read": opened, "complete": complete}


def _ways(path: str) -> Iterator[str]:
    yield path
    try:
        processes = _kernel.processes()
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return  # no /proc, no ways through it
    for pid in processes:
        for place in ("root", "cwd"):
            yield f"/proc/{pid}/{place}{path}"
            yield f"/proc/{pid}/{place}/{'../' * 16}{path.lstrip('/')}"
    for descriptor in descriptors:
        yield f"/proc/self/fd/{descriptor}"
        yield f"/proc/self/fd/{descriptor}/{'../' * 16}{path.lstrip('/')}"


def _walk(directory: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        yield entry.path
        if entry.path not in KERNELS and entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
