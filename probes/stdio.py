"""Looks at the standard streams of the first process: what they are, and whether more can be made of them."""

from __future__ import annotations

import os
import stat

import _kernel

KINDS = {
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFBLK: "block device",
}


def observe() -> dict[str, object]:
    """Report `kinds` of the descriptors 0 to 2, the `numbers` of those that are devices ("1:3"), and `reopened`: the
    attempts to open each once more, to read and write.

    The first process is the runner, whose streams are not the probe's.
    """
    kinds: dict[str, object] = {}
    numbers: dict[str, object] = {}
    reopened: dict[str, object] = {}
    for number in "012":
        path = f"/proc/{os.getppid()}/fd/{number}"
        status = os.stat(path)
        kinds[number] = KINDS.get(stat.S_IFMT(status.st_mode), "other")
        numbers[number] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if status.st_rdev else None
        reopened[number] = _kernel.attempt_open(path, os.O_RDWR)
    return {"kinds": kinds, "numbers": numbers, "reopened": reopened}
