"""Looks for addresses of the kernel and of the machine's memory in three files of /proc that may show zeros instead."""

from __future__ import annotations

import os

import _kernel

ENOUGH = 1 << 16  # bytes of a list: there are kernels whose first symbols have small values, which are none to hide
ENTRY = 8  # bytes for each page of pagemap: proc_pid_pagemap(5)
PRESENT, FRAME = 1 << 63, (1 << 55) - 1
PAGE = os.sysconf("SC_PAGESIZE")


def observe() -> dict[str, object]:
    """Report the highest address in `kallsyms` and in `iomem`, and the `frame` of a page of its own, by pagemap.

    An errno stands for what could not be read. `present` says whether the page was in memory, and so has a frame.
    """
    return {"kallsyms": _highest("/proc/kallsyms"), "iomem": _highest("/proc/iomem"), **_page()}


def _highest(path: str) -> object:
    """The highest of the numbers that the lines begin with: `ffffffff81000000 T _stext`, `00001000-0009fbff : RAM`."""
    text = _kernel.read(path, ENOUGH)
    if not isinstance(text, str):
        return text["errno"]
    numbers = (int(line.split()[0].rpartition("-")[2] or "0", 16) for line in text.splitlines())
    return max(numbers, default=0)  # of a file that has been covered there are none


def _page() -> dict[str, object]:
    address = id(FRAME)  # of any object, which is in memory when it is read
    try:
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        entry = int.from_bytes(os.pread(pagemap, ENTRY, address // PAGE * ENTRY), "little")
    except OSError as error:
        return {"present": None, "frame": _kernel.errno_name(error.errno)}
    return {"present": bool(entry & PRESENT), "frame": entry & FRAME}
