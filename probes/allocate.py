"""Touches more and more memory until it has all that it wants or is stopped."""

from __future__ import annotations

import mmap

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

MEBIBYTE = 1 << 20


def observe(mebibytes: int) -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report `touched`, the bytes written to, and `ended_by`, the signal that stopped it, or null.

    A child does it. It is far the biggest process of the container, so it is the one that the OOM killer
    picks. The host counts at the handshake, when the child has gone.
    """
    progress = mmap.mmap(-1, 8)  # shared, so it outlives the child
    outcome = _kernel.in_child(lambda: _touch(mebibytes, progress), deadline=10.0)
    facts: dict[str, object] = {
        "touched": int.from_bytes(progress[:8], "little"),
        "ended_by": outcome.get("ended_by"),
        "errno": outcome.get("errno"),
    }
    yield facts
    return facts


def _touch(mebibytes: int, progress: mmap.mmap) -> dict[str, object]:
    memory = mmap.mmap(-1, mebibytes * MEBIBYTE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for number in range(mebibytes):
        for page in range(number * MEBIBYTE, (number + 1) * MEBIBYTE, mmap.PAGESIZE):
            memory[page] = 1
        progress[:8] = ((number + 1) * MEBIBYTE).to_bytes(8, "little")
    return {}
