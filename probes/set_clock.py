"""Attempts to set the clock that all containers share with their host: clock_adjtime(2), clock_settime(2)."""

from __future__ import annotations

import struct

import _kernel

CLOCK_REALTIME = 0
ADJ_FREQUENCY = 2
NOWHERE = 1  # an address at which there is nothing


def observe() -> dict[str, object]:
    """Report `frequency`, the attempt to set what was just read, and `settime`, which names a time that is nowhere.

    clock_settime(2) reads the time before it asks for CAP_SYS_TIME: EFAULT says that no filter stands before it.
    """
    now = bytearray(208)  # struct timex: modes at 0, offset at 8, frequency at 16
    _kernel.attempt_syscall("clock_adjtime", CLOCK_REALTIME, now)  # a filter may refuse even to tell
    same = bytearray(len(now))
    struct.pack_into("I12xq", same, 0, ADJ_FREQUENCY, struct.unpack_from("q", now, 16)[0])
    return {
        "frequency": _kernel.attempt_syscall("clock_adjtime", CLOCK_REALTIME, same),
        "settime": _kernel.attempt_syscall("clock_settime", CLOCK_REALTIME, NOWHERE),
    }
