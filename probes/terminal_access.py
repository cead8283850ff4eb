"""Tries to open the controlling terminal of its session, through which input could be pushed into it."""

from __future__ import annotations

import os

import _kernel


def observe() -> dict[str, object]:
    """Report the attempt to open /dev/tty: ENXIO where there is no such terminal (tty(4))."""
    return {"open": _kernel.attempt_open("/dev/tty", os.O_RDWR)}
