"""Tells what a path leads to: the device and inode number behind it, and the path without symbolic links."""

from __future__ import annotations

import os

import _kernel


def observe(path: str) -> dict[str, object]:
    """Report `device`, `inode`, `real` (the path without links) and `is_mount`, or the `errno` of stat(2)."""
    facts: dict[str, object] = {"errno": None, "device": None, "inode": None, "real": None, "is_mount": False}
    try:
        status = os.stat(path)
    except OSError as error:
        return facts | {"errno": _kernel.errno_name(error.errno)}
    real = os.path.realpath(path)
    return facts | {
        "device": status.st_dev,
        "inode": status.st_ino,
        "real": real,
        "is_mount": real in _kernel.mount_points(),
    }
