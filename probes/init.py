"""The first process: who it is, which namespaces it is in, what it was handed.

Called in the runner's own process before anything else: no other probe sees the process that was started.
"""

from __future__ import annotations

import os
import sys

import _kernel


def observe() -> dict[str, object]:
    status = _kernel.parse_status(_kernel.read_text("/proc/self/status"))
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "sid": os.getsid(0),
        "process_group": os.getpgrp(),
        "nspid": _numbers(status, "NSpid"),  # in every pid namespace from that of the proc mount inwards
        "namespaces": _kernel.namespaces(),
        "argv0": sys.orig_argv[0],
        "descriptors": _descriptors(),
        "seccomp": _numbers(status, "Seccomp"),
    }


def _numbers(status: dict[str, str], name: str) -> list[int]:
    return [int(number) for number in status.get(name, "").split()]


def _descriptors() -> dict[str, str] | None:
    """What each open descriptor refers to, None without /proc."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return None
    targets = {}
    for number in numbers:
        try:
            targets[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            pass  # the descriptor by which the directory was listed
    return targets
