"""Looks for a cgroup by its name in every cgroup file system that is mounted."""

from __future__ import annotations

import os

import _kernel


def observe(name: str) -> dict[str, object]:
    """Report `found`, the directories of that name, and `directories`, the number that were looked at."""
    points = {str(each["point"]) for each in _kernel.mountinfo() if each["type"] in ("cgroup", "cgroup2")}
    found: list[str] = []
    directories = 0
    for point in sorted(points):
        for directory, _, _ in os.walk(point):
            directories += 1
            if os.path.basename(directory) == name:
                found.append(directory)
    return {"found": found, "directories": directories}
