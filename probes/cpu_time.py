"""Reads how much CPU time a process has used."""

from __future__ import annotations

import os

import _kernel


def observe(pid: int) -> dict[str, object]:
    """Report `seconds`, user and system time together, in clock ticks; null if there is no such process."""
    fields = _kernel.stat_fields(pid)
    if not fields:
        return {"seconds": None}
    return {"seconds": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")}
