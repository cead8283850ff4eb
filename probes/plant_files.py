"""Puts files into a volume that would be dangerous on the host, if it took them for what they say."""

from __future__ import annotations

import os
import struct

import _kernel

SETUID = 0o4755
CHARACTER_DEVICE = 0o020666
VFS_CAP_REVISION_2 = 0x02000000
VFS_CAP_EFFECTIVE = 1
CAP_NET_RAW = 13


def observe(path: str) -> dict[str, object]:
    """Report how it went with a set-user-ID file, one with a file capability, and a device (`mknod`).

    The device is loop-control (10:237), and is not opened.
    """
    capability = struct.pack("<5I", VFS_CAP_REVISION_2 | VFS_CAP_EFFECTIVE, 1 << CAP_NET_RAW, 0, 0, 0)
    return {
        "setuid": _kernel.attempt(lambda: _make(f"{path}/setuid", SETUID)),
        "capable": _kernel.attempt(lambda: _make(f"{path}/capable", 0o755)),
        "capability": _kernel.attempt(lambda: os.setxattr(f"{path}/capable", "security.capability", capability)),
        "mknod": _kernel.attempt(lambda: os.mknod(f"{path}/device", CHARACTER_DEVICE, os.makedev(10, 237))),
    }


def _make(path: str, mode: int) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC))
    os.chmod(path, mode)
