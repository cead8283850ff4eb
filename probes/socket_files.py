"""Looks for Unix sockets in the whole tree of files, without connecting to any."""

from __future__ import annotations

import os
import stat

MOST = 100_000  # directory entries that are looked at


def observe() -> dict[str, object]:
    """Report `found`, the paths of all sockets, and `complete`, which is false if the tree was too big."""
    found: list[str] = []
    looked = 0
    for parent, directories, files in os.walk("/"):
        if parent == "/":
            directories[:] = [name for name in directories if name not in ("proc", "sys")]  # the kernel's, with none
        found += [path for name in files if _is_socket(path := os.path.join(parent, name))]
        looked += len(files) + len(directories)
        if looked > MOST:
            return {"found": sorted(found), "complete": False}
    return {"found": sorted(found), "complete": True}


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False
