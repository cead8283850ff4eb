"""Reads a key of the kernel's by its serial number: keyctl(2), KEYCTL_READ."""

from __future__ import annotations

import _kernel


def observe(serial: int) -> dict[str, object]:
    return _kernel.read_key(serial)
