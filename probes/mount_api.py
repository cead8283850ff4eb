"""Tries every system call that makes, moves or changes a mount."""

from __future__ import annotations

import os
import struct

import _kernel

TARGET = "/tmp"
MOUNT_ATTR_NOSUID = 2  # a change that no user namespace has locked, and that nobody would miss


def observe() -> dict[str, object]:
    """Report `unshare` and, in `attempts`, each call by its name.

    The kernel asks for CAP_SYS_ADMIN in the owner of the mount namespace before it looks at any argument but
    the paths (may_mount() in fs/namespace.c), so EPERM is the capability's answer. A namespace of its own
    comes first: whoever may have one may mount as well, and what succeeds then ends with this child.
    """
    return _kernel.in_child(_try_all)


def _try_all() -> dict[str, object]:
    unshare = _kernel.attempt_syscall("unshare", _kernel.CLONE_NEWNS)
    if unshare["errno"] is None:
        _kernel.syscall("mount", None, "/", None, _kernel.MS_REC | _kernel.MS_PRIVATE, None)
    os.chdir("/")
    here = _kernel.AT_FDCWD
    attributes = struct.pack("QQQQ", MOUNT_ATTR_NOSUID, 0, 0, 0)
    clone = _kernel.OPEN_TREE_CLONE | _kernel.OPEN_TREE_CLOEXEC
    attempts = {
        "mount": _kernel.attempt_syscall("mount", "isoproof", TARGET, "tmpfs", 0, "size=64k"),
        "fsopen": _kernel.attempt_syscall("fsopen", "tmpfs", _kernel.FSOPEN_CLOEXEC),
        "open_tree": _kernel.attempt_syscall("open_tree", here, "/", clone),
        "fspick": _kernel.attempt_syscall("fspick", here, "/", _kernel.FSPICK_CLOEXEC),
        "mount_setattr": _kernel.attempt_syscall("mount_setattr", here, "/", 0, attributes, len(attributes)),
        "move_mount": _kernel.attempt_syscall("move_mount", here, TARGET, here, TARGET, 0),
        "pivot_root": _kernel.attempt_syscall("pivot_root", ".", "."),
    }
    if attempts["mount"]["errno"] is None:
        _kernel.syscall("umount2", TARGET, _kernel.MNT_DETACH)
    return {"unshare": unshare, "attempts": attempts}
