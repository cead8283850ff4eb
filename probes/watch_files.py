"""Asks to be told of, and to decide on, what happens to the files of others: fanotify(7)."""

from __future__ import annotations

import os

import _kernel

FAN_CLOEXEC, FAN_CLASS_CONTENT, FAN_REPORT_FID = 1, 4, 0x200
FAN_MARK_ADD, FAN_MARK_FILESYSTEM, FAN_OPEN = 1, 0x100, 0x20


def observe() -> dict[str, object]:
    """Report the errnos of `decide`, a group that may hold others up, and of `filesystem`, all files of the root's.

    The latter is asked of the group that everybody may have since Linux 5.13, `listen`, which is told of single files.
    """
    return {
        "decide": _kernel.in_child(
            lambda: _kernel.attempt_syscall("fanotify_init", FAN_CLOEXEC | FAN_CLASS_CONTENT, os.O_RDONLY)
        ),
        **_kernel.in_child(_listen),
    }


def _listen() -> dict[str, object]:
    group = _kernel.attempt_syscall("fanotify_init", FAN_CLOEXEC | FAN_REPORT_FID, os.O_RDONLY)
    if group["errno"] is not None:
        return {"listen": group, "filesystem": group}
    mark = (int(str(group["result"])), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN, _kernel.AT_FDCWD, "/")
    return {"listen": {"errno": None}, "filesystem": _kernel.attempt_syscall("fanotify_mark", *mark)}
