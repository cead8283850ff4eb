"""Looks at process 1 as its neighbours see it, through /proc/1."""

from __future__ import annotations

import os
import stat

import _kernel

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFCHR: "character device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


def observe() -> dict[str, object]:
    """Report its `arguments`, its `environment`, the `kinds` that its descriptors are of, its `root` and `directory`.

    The latter two are device and inode, like `own_root`, the observer's. An errno stands for what could not be had, and
    so it does among the kinds.
    """
    return {
        "arguments": _strings("/proc/1/cmdline"),
        "environment": _strings("/proc/1/environ"),
        "kinds": _kinds(),
        "root": _place("/proc/1/root"),
        "directory": _place("/proc/1/cwd"),
        "own_root": _place("/"),
    }


def _strings(path: str) -> object:
    text = _kernel.read(path)
    return text.rstrip("\0").split("\0") if isinstance(text, str) else text["errno"]


def _kinds() -> list[str]:
    try:
        modes = [os.stat(f"/proc/1/fd/{number}").st_mode for number in os.listdir("/proc/1/fd")]
    except OSError as error:
        return [_kernel.errno_name(error.errno)]
    return sorted({KINDS.get(stat.S_IFMT(mode), "other") for mode in modes})


def _place(path: str) -> object:
    try:
        status = os.stat(path)
    except OSError as error:
        return _kernel.errno_name(error.errno)
    return [status.st_dev, status.st_ino]
