"""Looks for Unix sockets in the whole tree of files, without connecting to any."""

from __future__ import annotations

import os
import stat

import _kernel

MOST = 100_000  # directory entries that are looked at


def observe() -> dict[str, object]:
    """Report `found`, the paths of all sockets, and `complete`, which is false if the tree was too big."""
    found: list[str] = []
    for looked, path in enumerate(_kernel.walk("/")):
        if looked == MOST:
            return {"found": found, "complete": False}
        if _is_socket(path):
            found.append(path)
    return {"found": sorted(found), "complete": True}


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False
