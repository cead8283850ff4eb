"""Tells what a path leads to: the device and inode number behind it, its owner, and the path without symbolic links."""

from __future__ import annotations

import os

import _kernel


def observe(path: str) -> dict[str, object]:
    """Report `device`, `inode`, `uid`, `gid`, `real` (the path without links) and `is_mount`, or `errno` of stat(2)."""
    facts: dict[str, object] = dict.fromkeys(("errno", "device", "inode", "uid", "gid", "real")) | {"is_mount": False}
    try:
        status = os.stat(path)
    except OSError as error:
        return facts | {"errno": _kernel.errno_name(error.errno)}
    real = os.path.realpath(path)
    return facts | {
        "device": status.st_dev,
        "inode": status.st_ino,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "real": real,
        "is_mount": real in _kernel.mount_points(),
    }
