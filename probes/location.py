"""Tells what a path leads to: the device and inode number behind it, and the path without symbolic links."""

from __future__ import annotations

import os

import _kernel


def observe(path: str) -> dict[str, object]:
    """Report `device` and `inode`, `real` as realpath(3) gives it, `is_mount`; only `errno` if it is not."""
    try:
        status = os.stat(path)
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno)}
    real = os.path.realpath(path)
    points = [mount["point"] for mount in _kernel.mountinfo()]
    return {
        "errno": None,
        "device": status.st_dev,
        "inode": status.st_ino,
        "real": real,
        "is_mount": real in points,
    }
