"""Looks at /dev/console, and at the terminal that the program has."""

from __future__ import annotations

import os
import stat


def observe() -> dict[str, object]:
    """Report of /dev/console `is_device`, the `major` number and `device`, that of its file system.

    `instance` is the device of the file system at /dev/pts, and `terminal` the name of what the program writes to, null
    where that is no terminal. No link is followed at /dev/console.
    """
    status = os.lstat("/dev/console")
    try:
        terminal = os.ttyname(2)
    except OSError:
        terminal = None
    return {
        "is_device": stat.S_ISCHR(status.st_mode),
        "major": os.major(status.st_rdev),
        "device": status.st_dev,
        "instance": os.stat("/dev/pts").st_dev,
        "terminal": terminal,
    }
