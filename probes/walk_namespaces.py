"""Walks from its own mount namespace to the next and the previous one that the machine has: ioctl_nsfs(2)."""

from __future__ import annotations

import os
import struct

import _kernel

NS_MNT_GET_NEXT, NS_MNT_GET_PREV = 0x8010_B70B, 0x8010_B70C  # _IOR(0xb7, 11 and 12, struct mnt_ns_info)
AT_MOST = 64


def observe() -> dict[str, object]:
    """Report of `next` and `previous` the inodes of the namespaces that were `reached`, and the errno at the end."""
    return {"next": _walk(NS_MNT_GET_NEXT), "previous": _walk(NS_MNT_GET_PREV)}


def _walk(direction: int) -> dict[str, object]:
    here = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    reached: list[int] = []
    while len(reached) < AT_MOST:
        request = bytearray(struct.pack("=IIQ", 16, 0, 0))  # struct mnt_ns_info: size, number of mounts, id
        step = _kernel.attempt_syscall("ioctl", here, direction, request)
        os.close(here)
        if step["errno"] is not None:
            return {"reached": reached, "errno": step["errno"]}
        here = int(str(step["result"]))
        reached.append(os.fstat(here).st_ino)
    os.close(here)
    return {"reached": reached, "errno": None}
