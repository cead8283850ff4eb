"""Computes for a while and tells how much of the time it really had a CPU."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def observe(
    seconds: float, cpu: int | None = None
) -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report `cpu_seconds` and `wall_seconds` of a loop of `seconds`, on the one CPU `cpu` if it is given.

    The host counts at the handshake, when the loop is over.
    """
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    wall, used = time.monotonic(), time.process_time()
    while time.monotonic() - wall < seconds:
        pass
    facts: dict[str, object] = {
        "cpu_seconds": time.process_time() - used,
        "wall_seconds": time.monotonic() - wall,
    }
    yield facts
    return facts
