"""Configures a file system in user and mount namespaces of its own with more options than the kernel has room for."""

from __future__ import annotations

import os

import _kernel

OPTION = "o" * 200
ROOM = 4096  # bytes, one page, in which the kernel gathers the options of a file system that takes them as text


def observe(filesystem: str) -> dict[str, object]:
    """Report the errno of fsopen(2) `directly`, of `unshare`, of fsopen(2) `nested`, and of the last option, `full`.

    What was not reached is None, and so is what went well. No file system is made in the end.
    """
    direct = _kernel.attempt(lambda: os.close(_kernel.syscall("fsopen", filesystem, _kernel.FSOPEN_CLOEXEC)))
    facts: dict[str, object] = {"directly": direct["errno"], "unshare": None, "nested": None, "full": None}
    return facts | _kernel.in_child(lambda: _nested(filesystem))


def _nested(filesystem: str) -> dict[str, object]:
    unshare = _kernel.attempt_syscall("unshare", _kernel.CLONE_NEWUSER | _kernel.CLONE_NEWNS)["errno"]
    try:
        context = _kernel.syscall("fsopen", filesystem, _kernel.FSOPEN_CLOEXEC)
    except OSError as error:
        return {"unshare": unshare, "nested": _kernel.errno_name(error.errno)}
    try:
        for _ in range(ROOM // len(OPTION) + 1):
            _kernel.syscall("fsconfig", context, _kernel.FSCONFIG_SET_STRING, "o", OPTION, 0)
    except OSError as error:
        return {"unshare": unshare, "full": _kernel.errno_name(error.errno)}
    return {"unshare": unshare}
