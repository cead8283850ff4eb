"""Looks for a cgroup by its name in every cgroup file system that is mounted."""

from __future__ import annotations

import os

import _kernel


def observe(name: str) -> dict[str, object]:
    """Report `found`, the directories of that name, and `directories`, the number that were looked at."""
    found: list[str] = []
    directories = 0
    for point in _kernel.mount_points("cgroup", "cgroup2"):
        for directory, _, _ in os.walk(point):
            directories += 1
            if os.path.basename(directory) == name:
                found.append(directory)
    return {"found": found, "directories": directories}
