"""Tries to mount an uncovered /proc or /sys in user, mount and pid or network namespaces of its own."""

from __future__ import annotations

import os

import _kernel

NAMESPACES = {"proc": _kernel.CLONE_NEWPID, "sysfs": _kernel.CLONE_NEWNET}
POINTS = {"proc": "/proc", "sysfs": "/sys"}


def observe(filesystem: str, file: str) -> dict[str, object]:
    """Report `mounted`, `writable` and the errno of each attempt up to the first that failed.

    `filesystem` is "proc" or "sysfs"; `file` is opened for writing in the new mount, and not written. In a
    user namespace the kernel allows a new procfs or sysfs only where a whole one is to be seen already, with
    no stricter flags: otherwise covers would be worth nothing (mount_too_revealing() in fs/namespace.c).
    """
    namespaces = _kernel.CLONE_NEWUSER | _kernel.CLONE_NEWNS | NAMESPACES[filesystem]
    attempts = _kernel.in_child(lambda: _unshare_and_mount(namespaces, filesystem, file))
    return {
        "attempts": attempts,
        "mounted": attempts.get("mount") == {"errno": None, "result": 0},
        "writable": attempts.get("open") == {"errno": None},
    }


def _unshare_and_mount(namespaces: int, filesystem: str, file: str) -> dict[str, object]:
    unshare = _kernel.attempt_syscall("unshare", namespaces)
    if unshare["errno"] is not None:
        return {"unshare": unshare}
    # Only children are in the new pid namespace, and procfs shows the one that its mounter is in.
    return {"unshare": unshare, **_kernel.in_child(lambda: _mount(filesystem, file))}


def _mount(filesystem: str, file: str) -> dict[str, object]:
    point = POINTS[filesystem]
    flags = _kernel.MS_NOSUID | _kernel.MS_NODEV | _kernel.MS_NOEXEC
    mount = _kernel.attempt_syscall("mount", filesystem, point, filesystem, flags, None)
    if mount["errno"] is not None:
        return {"mount": mount}
    return {"mount": mount, "open": _kernel.attempt_open(f"{point}/{file}", os.O_WRONLY)}
