"""The programs that a process and its descendants run: which files these are, and by which mounts."""

from __future__ import annotations

import os

import _kernel


def observe(pid: int) -> dict[str, object]:
    """Report `identities`, a list of [device, inode, mount]: the same file by another mount is another one."""
    parents = {int(name): _parent(name) for name in os.listdir("/proc") if name.isdecimal()}
    family = {pid}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return {"identities": [_kernel.identity(f"/proc/{member}/exe") for member in sorted(family)]}


def _parent(process: str) -> int:
    fields = _kernel.read_text(f"/proc/{process}/stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0
