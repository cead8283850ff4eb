"""Which files programs are, and by which mounts: those that a process and its descendants run, and one left open."""

from __future__ import annotations

import os
import struct

import _kernel

STATX_INO, STATX_MNT_ID = 0x100, 0x1000
STATX = struct.Struct("=32xQ96x2IQ104x")  # struct statx: stx_ino, stx_dev_major, stx_dev_minor, stx_mnt_id


def observe(pid: int | None = None, descriptor: int | None = None) -> dict[str, object]:
    """Report a file as [device, inode, mount], for the same file by another mount is another one.

    `running` has those of process `pid` and its descendants; `open` is what the descriptor leads to, None for nothing,
    and `write` how opening that for writing ends.
    """
    path = f"/proc/self/fd/{descriptor}"
    return {
        "running": [_file(f"/proc/{member}/exe") for member in _family(pid)] if pid else [],
        "open": _file(path),
        "write": _kernel.attempt_open(path, os.O_WRONLY),
    }


def _family(pid: int) -> list[int]:
    parents = {int(name): _parent(name) for name in _kernel.processes()}
    family = {pid}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return sorted(family)


def _parent(process: str) -> int:
    fields = _kernel.stat_fields(process)
    return int(fields[1]) if fields else 0


def _file(path: str) -> list[int] | None:
    found = bytearray(STATX.size)
    try:
        _kernel.syscall("statx", _kernel.AT_FDCWD, path, 0, STATX_INO | STATX_MNT_ID, found)
    except OSError:
        return None
    inode, major, minor, mount = STATX.unpack(found)
    return [os.makedev(major, minor), inode, mount]
