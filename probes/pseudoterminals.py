"""Looks into /dev/pts, and opens a pseudoterminal of its own there."""

from __future__ import annotations

import fcntl
import os
import stat

import _kernel

TIOCGPTN = 0x80045430


def observe() -> dict[str, object]:
    """Report `device` of /dev/pts, the `entries` at first, the `mode` of ptmx there, and `opened`.

    The last is the errno of opening /dev/ptmx, and whether the new terminal has `appeared` in /dev/pts meanwhile.
    """
    entries = sorted(os.listdir("/dev/pts"))
    return {
        "device": os.stat("/dev/pts").st_dev,
        "entries": entries,
        "mode": stat.S_IMODE(os.stat("/dev/pts/ptmx").st_mode) if "ptmx" in entries else None,
        "opened": _open(entries),
    }


def _open(before: list[str]) -> dict[str, object]:
    try:
        terminal = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "appeared": False}
    try:
        number = int.from_bytes(fcntl.ioctl(terminal, TIOCGPTN, bytes(4)), "little")
        return {"errno": None, "appeared": str(number) in set(os.listdir("/dev/pts")) - set(before)}
    finally:
        os.close(terminal)
