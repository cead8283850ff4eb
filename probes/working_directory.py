"""Tells where the working directory is, and whether a way leads from it out of the root."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CLIMB = "../" * 16


def observe(path: str) -> dict[str, object]:
    """Report the working directory in three ways, and try to reach the host's `path` by climbing from it.

    `path` is what getcwd(3) says and `link` what /proc/self/cwd says; `identity`, `root` and `above_root`
    are [device, inode] of the working directory, of / and of `/..`; `canary` is the errno of opening
    ../../…/path.
    """
    return {
        "path": _text(os.getcwd),
        "link": _text(lambda: os.readlink("/proc/self/cwd")),
        "identity": _kernel.identity("."),
        "root": _kernel.identity("/"),
        "above_root": _kernel.identity("/.."),
        "canary": _kernel.attempt_open(CLIMB + path.lstrip("/")),
    }


def _text(read: Callable[[], str]) -> object:
    try:
        return read()
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno)}
