"""Which CPUs a process may run on, and whether it can have another one by asking."""

from __future__ import annotations

import os

import _kernel


def observe() -> dict[str, object]:
    """Report `cpus`, those that may be used; `online`, those of the machine; and `other`, what asking brings.

    `other` maps each CPU of the machine that may not be used to the errno of sched_setaffinity(2) for it alone, made in
    a child.
    """
    cpus = os.sched_getaffinity(0)
    online = _numbers(_kernel.read_text("/sys/devices/system/cpu/online"))
    return {
        "cpus": sorted(cpus),
        "online": online,
        "other": {str(cpu): _ask_for(cpu) for cpu in online if cpu not in cpus},
    }


def _ask_for(cpu: int) -> dict[str, object]:
    def ask() -> dict[str, object]:
        os.sched_setaffinity(0, {cpu})
        return {"errno": None}

    return _kernel.in_child(ask)


def _numbers(text: str) -> list[int]:
    """The numbers of a list like 0-3,7: cpuset(7)."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
