"""An attempt of a harmless ioctl(2) on a device: how much entropy it has, which only random devices tell."""

from __future__ import annotations

import fcntl
import os

import _kernel

RNDGETENTCNT = 0x80045200


def observe(path: str) -> dict[str, object]:
    return _kernel.attempt(lambda: fcntl.ioctl(os.open(path, os.O_RDONLY), RNDGETENTCNT, bytes(4)))
