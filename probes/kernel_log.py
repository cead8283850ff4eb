"""Tries to get at the log of the kernel by three ways, and takes nothing out of it: syslog(2)."""

from __future__ import annotations

import _kernel

SYSLOG_ACTION_READ_ALL = 3  # the end of it, as much as there is room for; it stays where it is
ROOM = 64


def observe() -> dict[str, object]:
    """Report the `call`, and the opening of `kmsg` in /proc, of which a read would take away, and of the `device`."""
    return {
        "call": _kernel.attempt_syscall("syslog", SYSLOG_ACTION_READ_ALL, bytearray(ROOM), ROOM),
        "kmsg": _kernel.attempt_open("/proc/kmsg"),
        "device": _kernel.attempt_open("/dev/kmsg"),
    }
