"""Tries to open the files of its own cgroup that set limits or move processes, for writing."""

from __future__ import annotations

import os

import _kernel

FILES = (
    "cgroup.procs",
    "tasks",
    "notify_on_release",
    "cgroup.freeze",
    "memory.limit_in_bytes",
    "memory.max",
    "pids.max",
    "cpu.cfs_quota_us",
    "cpu.max",
    "devices.allow",
)
ABSENT = "ENOENT"


def observe() -> dict[str, object]:
    """Report `attempts`, the errno of opening each file in each cgroup mount; nothing is written.

    Files that are not there, and that could not be made either, are left out: every controller has its own.
    """
    points = _kernel.mount_points("cgroup", "cgroup2")
    paths = [f"{point}/{file}" for point in points for file in FILES]
    attempts = {path: _kernel.attempt_open(path, os.O_WRONLY) for path in paths}
    return {"attempts": {path: outcome for path, outcome in attempts.items() if outcome["errno"] != ABSENT}}
