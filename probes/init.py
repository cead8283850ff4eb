"""The first process: who it is, which namespaces it is in, what it was handed.

Called in the runner's own process before anything else: no other probe sees the process that was started.
"""

from __future__ import annotations

import os
import sys

import _kernel


def observe() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "sid": os.getsid(0),
        "process_group": os.getpgrp(),
        "nspid": _nspid(),
        "namespaces": _kernel.namespaces(),
        "argv0": sys.orig_argv[0],
        "descriptors": _descriptors(),
    }


def _nspid() -> list[int]:
    """The pid in every pid namespace from that of the proc mount inwards: NSpid of proc_pid_status(5)."""
    for line in _kernel.read_text("/proc/self/status").splitlines():
        if line.startswith("NSpid:"):
            return [int(pid) for pid in line.split()[1:]]
    return []


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
