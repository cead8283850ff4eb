"""Asks the kernel which flags are in force on every mount: statvfs(3)."""

from __future__ import annotations

import os

import _kernel

FLAGS = {
    "ro": os.ST_RDONLY,
    "nosuid": os.ST_NOSUID,
    "nodev": os.ST_NODEV,
    "noexec": os.ST_NOEXEC,
    "nosymfollow": 0x2000,
}


def observe() -> dict[str, object]:
    """Report `flags`: of each mount point, which of ro, nosuid, nodev, noexec, nosymfollow are in force.

    Where several mounts lie on one point, the uppermost answers: it is the one that programs meet.
    """
    return {"flags": {point: _flags(point) for point in _kernel.mount_points()}}


def _flags(point: str) -> object:
    try:
        flags = os.statvfs(point).f_flag
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno)}
    return [name for name, bit in FLAGS.items() if flags & bit]
