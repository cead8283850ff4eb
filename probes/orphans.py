"""Grandchildren whose parents end: who inherits them, and whether their remains are removed.

There are `count` of them. `parents` are the getppid() values that the orphans saw, `zombies` how many of
them are still in state Z after `seconds`. A process 1 that never calls wait(2) keeps them all, until the
pids limit is reached.
"""

from __future__ import annotations

import os
import time

import _kernel


def observe(count: int = 50, seconds: float = 2.0) -> dict[str, object]:
    report, reporter = os.pipe()
    gate, keeper = os.pipe()
    for _ in range(count):
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                os.close(keeper)
                os.read(gate, 1)  # end of file: all the parents have been waited for
                os.write(reporter, b"%d %d\n" % (os.getpid(), os.getppid()))
            os._exit(0)
        os.waitpid(child, 0)
    os.close(keeper)
    os.close(reporter)
    text = b""
    while part := os.read(report, 65536):
        text += part
    orphans = [(int(pid), int(parent)) for pid, parent in map(bytes.split, text.splitlines())]
    start = time.monotonic()
    while (zombies := sum(_is_zombie(pid) for pid, _ in orphans)) and time.monotonic() < start + seconds:
        time.sleep(0.005)
    return {
        "orphans": len(orphans),
        "parents": sorted({parent for _, parent in orphans}),
        "zombies": zombies,
        "milliseconds": round((time.monotonic() - start) * 1000),
    }


def _is_zombie(pid: int) -> bool:
    return _kernel.stat_fields(pid)[:1] == ["Z"]
