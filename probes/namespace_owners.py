"""Tells which user namespace owns each of a process's other namespaces: ioctl_nsfs(2)."""

from __future__ import annotations

import os

import _kernel

NS_GET_USERNS = 0xB701
OWNED = ["cgroup", "ipc", "mnt", "net", "pid", "uts"]


def observe() -> dict[str, object]:
    """Report by namespace the inode of its owner, or the errno: EPERM is for an owner outside one's own."""
    return {name: _owner(name) for name in OWNED}


def _owner(name: str) -> int | str:
    namespace = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = _kernel.syscall("ioctl", namespace, NS_GET_USERNS)
    except OSError as error:
        return _kernel.errno_name(error.errno)
    finally:
        os.close(namespace)
    try:
        return os.fstat(owner).st_ino
    finally:
        os.close(owner)
