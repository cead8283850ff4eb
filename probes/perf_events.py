"""Opens counters of perf_event_open(2): of itself, of the kernel on its behalf, and of all that a CPU does."""

from __future__ import annotations

import struct

import _kernel

PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY = 1, 9
PERF_ATTR_SIZE = 64
EXCLUDE_KERNEL, EXCLUDE_HYPERVISOR = 1 << 5, 1 << 6
SELF, EVERYBODY, ANY_CPU = 0, -1, -1


def observe(cpu: int = 0) -> dict[str, object]:
    """Report the errnos of `own`, without what the kernel does, of `kernel`, with it, and of `cpu`."""
    return {
        "own": _attempt(SELF, ANY_CPU, EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR),
        "kernel": _attempt(SELF, ANY_CPU, 0),
        "cpu": _attempt(EVERYBODY, cpu, 0),
    }


def _attempt(process: int, cpu: int, flags: int) -> dict[str, object]:
    # struct perf_event_attr up to config1; the flags are a bit field at byte 40
    attributes = struct.pack("=IIQ24xQ16x", PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE, PERF_COUNT_SW_DUMMY, flags)
    return _kernel.in_child(lambda: _kernel.attempt_syscall("perf_event_open", attributes, process, cpu, -1, 0))
