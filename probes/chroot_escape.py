"""Tries to climb out of the root with chroot(2), the way that is open to whoever holds CAP_SYS_CHROOT."""

from __future__ import annotations

import os

import _kernel

INNER_ROOT = "/proc"  # any directory below / will do, and this one is there in every container
CLIMB = 64


def observe(path: str) -> dict[str, object]:
    """Keep a descriptor on /, chroot below it, go back to the descriptor, climb, chroot there.

    Then look for `path`. Reports `chroot`, the errno of the first step, the root before and after as
    [device, inode], and `canary`, the errno of opening `path` from the new root.
    """
    return _kernel.in_child(lambda: _climb(path))


def _climb(path: str) -> dict[str, object]:
    before = _kernel.identity("/")
    start = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    chroot = _kernel.attempt(lambda: os.chroot(INNER_ROOT))
    if chroot["errno"] is None:
        # The working directory is now outside the root, so ".." is not stopped at it any more.
        os.fchdir(start)
        for _ in range(CLIMB):
            os.chdir("..")
        os.chroot(".")
    canary = _kernel.attempt_open(path)
    return {"chroot": chroot, "before": before, "after": _kernel.identity("/"), "canary": canary}
