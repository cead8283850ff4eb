"""A file that somebody before the probes has left open: which it is, by which mount, and whether it can be written."""

from __future__ import annotations

import os

import _kernel


def observe(descriptor: int) -> dict[str, object]:
    """Report `identity`, [device, inode, mount] as `programs` has them, and how opening it for `write` ends."""
    path = f"/proc/self/fd/{descriptor}"
    return {"identity": _kernel.identity(path), "write": _kernel.attempt_open(path, os.O_WRONLY)}
