"""Looks for the kernel's table of program formats, binfmt_misc, and opens its entrance without registering any."""

from __future__ import annotations

import os

import _kernel

POINT = "/proc/sys/fs/binfmt_misc"


def observe() -> dict[str, object]:
    """Report `instances`, those that are mounted, and `nested`, the one that user and mount namespaces of its own give.

    Each has its `device`, by which two mounts of one table are known, its `entries`, and how it ends to open `register`
    for writing; `mount` is how it ended to mount the nested one. Since Linux 6.7 each user namespace has its own.
    """
    points = _kernel.mount_points("binfmt_misc")
    return {"instances": [_instance(point) for point in points], "nested": _kernel.in_child(_nested)}


def _instance(point: str) -> dict[str, object]:
    return {
        "device": os.stat(point).st_dev,
        "entries": sorted(os.listdir(point)),
        "register": _kernel.attempt_open(f"{point}/register", os.O_WRONLY)["errno"],
    }


def _nested() -> dict[str, object]:
    nothing: dict[str, object] = {"device": None, "entries": [], "register": None}
    unshare = _kernel.attempt_syscall("unshare", _kernel.CLONE_NEWUSER | _kernel.CLONE_NEWNS)
    if unshare["errno"] is not None:
        return {"mount": unshare["errno"], **nothing}
    mount = _kernel.attempt_syscall("mount", "binfmt_misc", POINT, "binfmt_misc", 0, None)
    return {"mount": mount["errno"], **(nothing if mount["errno"] else _instance(POINT))}
