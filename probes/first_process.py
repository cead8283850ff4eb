"""Looks at process 1 as its neighbours see it, through /proc/1."""

from __future__ import annotations

import os

import _kernel


def observe() -> dict[str, object]:
    """Report its `arguments`, its `environment`, the `kinds` that its descriptors are of, its `root` and `directory`.

    The latter two are device and inode, like `own_root` and `own_directory`, to which the observer's paths lead. An
    errno stands for what could not be had, and so it does among the kinds.
    """
    return {
        "arguments": _strings("/proc/1/cmdline"),
        "environment": _strings("/proc/1/environ"),
        "kinds": _kinds(),
        "root": _kernel.identity("/proc/1/root"),
        "directory": _kernel.identity("/proc/1/cwd"),
        "own_root": _kernel.identity("/"),
        "own_directory": _own_directory(),
    }


def _strings(path: str) -> object:
    text = _kernel.read(path)
    return text.rstrip("\0").split("\0") if isinstance(text, str) else text["errno"]


def _kinds() -> list[str]:
    try:
        modes = [os.stat(f"/proc/1/fd/{number}").st_mode for number in os.listdir("/proc/1/fd")]
    except OSError as error:
        return [_kernel.errno_name(error.errno)]
    return sorted({_kernel.kind(mode) for mode in modes})


def _own_directory() -> list[int] | str:
    """By its path and not by itself, for to a directory outside of the root there is none."""
    try:
        return _kernel.identity(os.getcwd())
    except OSError as error:
        return _kernel.errno_name(error.errno)
