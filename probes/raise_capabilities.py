"""Attempts of a process to get capabilities by itself: seteuid(2), capset(2), prctl(2)."""

from __future__ import annotations

import os
import struct

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VERSION_3 = 0x20080522
LAST = 40  # CAP_CHECKPOINT_RESTORE
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2


def observe() -> dict[str, object]:
    """Report `seteuid`, and of two sets, `permitted` and `ambient`, what could be `had` of them, and the errnos."""
    return {
        "seteuid": _kernel.in_child(lambda: _kernel.attempt(lambda: os.seteuid(0))),
        "permitted": _kernel.in_child(lambda: _try_all(_make_permitted)),
        "ambient": _kernel.in_child(lambda: _try_all(_make_ambient)),
    }


def _try_all(action: Callable[[int], dict[str, object]]) -> dict[str, object]:
    outcomes = {number: action(number)["errno"] for number in range(LAST + 1)}
    return {
        "had": [number for number, errno in outcomes.items() if errno is None],
        "errnos": sorted({str(errno) for errno in outcomes.values() if errno is not None}),
    }


def _make_permitted(number: int) -> dict[str, object]:
    """Add one capability to the permitted set, and keep the others."""
    header = struct.pack("Ii", VERSION_3, 0)
    data = bytearray(24)  # effective, permitted, inheritable: the low halves, then the high ones
    _kernel.syscall("capget", header, data)
    words = list(struct.unpack("6I", data))
    words[1 + 3 * (number // 32)] |= 1 << number % 32
    return _kernel.attempt_syscall("capset", header, struct.pack("6I", *words))


def _make_ambient(number: int) -> dict[str, object]:
    return _kernel.attempt_syscall("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)
