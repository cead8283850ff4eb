"""Tries to open a POSIX message queue by its name, and does nothing with it: mq_open(3)."""

from __future__ import annotations

import os

import _kernel


def observe(name: str) -> dict[str, object]:
    """Report the `errno` of opening it; `name` is without the slash that the C library takes away, too."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    return _kernel.attempt(lambda: os.close(_kernel.syscall("mq_open", name, flags, 0, None)))
