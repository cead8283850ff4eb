"""The clocks of the machine as a process reads them, and what /proc tells of them."""

from __future__ import annotations

import struct
import time

import _kernel


def observe() -> dict[str, object]:
    """Report seconds: `monotonic`, `boottime`, `sysinfo` (whole ones), `uptime` (/proc/uptime), `btime` (/proc/stat).

    `children` has the first two as a child reads them, which may live in another time namespace.
    """
    return {**_clocks(), **_uptimes(), "children": _kernel.in_child(_clocks)}


def _clocks() -> dict[str, object]:
    return {
        "monotonic": time.clock_gettime(time.CLOCK_MONOTONIC),
        "boottime": time.clock_gettime(time.CLOCK_BOOTTIME),
    }


def _uptimes() -> dict[str, object]:
    information = bytearray(128)  # struct sysinfo, whose first member is the uptime: sysinfo(2)
    _kernel.syscall("sysinfo", information)
    booted = [line.split()[1] for line in _kernel.read_text("/proc/stat").splitlines() if line.startswith("btime ")]
    uptime = _kernel.read_text("/proc/uptime").split()
    return {
        "sysinfo": struct.unpack_from("l", information)[0],
        "uptime": float(uptime[0]) if uptime else None,
        "btime": int(booted[0]) if booted else None,
    }
