"""Joins each of its own namespaces once more, and makes a new one of each type: setns(2), unshare(2)."""

from __future__ import annotations

import os

import _kernel

TYPES = {
    "cgroup": _kernel.CLONE_NEWCGROUP,
    "ipc": _kernel.CLONE_NEWIPC,
    "mnt": _kernel.CLONE_NEWNS,
    "net": _kernel.CLONE_NEWNET,
    "pid": _kernel.CLONE_NEWPID,
    "time": _kernel.CLONE_NEWTIME,
    "uts": _kernel.CLONE_NEWUTS,
}


def observe() -> dict[str, object]:
    """Report how `setns` and `unshare` ended by type, those that the kernel has: "done", or the name of the errno.

    User namespaces are left out: to make one takes no right, and one's own can never be joined.
    """
    known = [name for name in TYPES if os.path.lexists(f"/proc/self/ns/{name}")]
    return {"setns": {name: _join(name) for name in known}, "unshare": {name: _make(name) for name in known}}


def _join(name: str) -> str:
    namespace = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    return _kernel.outcome(lambda: _kernel.attempt_syscall("setns", namespace, TYPES[name]))


def _make(name: str) -> str:
    return _kernel.outcome(lambda: _kernel.attempt_syscall("unshare", TYPES[name]))
