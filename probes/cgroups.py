"""Reads which cgroups a process is in, as they look from its own cgroup namespace."""

from __future__ import annotations

import _kernel


def observe() -> dict[str, object]:
    """Report what /proc/self/cgroup and /proc/1/cgroup say, and what cgroup mounts show as their root.

    `self` and `init` map each hierarchy ("pids", "cpu,cpuacct", "name=systemd", "" for the unified one) to a
    path; `roots` maps each mount point of a cgroup file system to the path of the cgroup that it shows;
    `controllers` maps each controller to the number of its hierarchy, 0 if no version 1 hierarchy holds it.
    """
    mounts = [mount for mount in _kernel.mountinfo() if mount["type"] in ("cgroup", "cgroup2")]
    table = _kernel.read_text("/proc/cgroups").splitlines()
    return {
        "self": _paths("/proc/self/cgroup"),
        "init": _paths("/proc/1/cgroup"),
        "roots": {str(mount["point"]): mount["root"] for mount in mounts},
        "controllers": {line.split()[0]: int(line.split()[1]) for line in table if not line.startswith("#")},
    }


def _paths(file: str) -> dict[str, str]:
    lines = [line.split(":", 2) for line in _kernel.read_text(file).splitlines()]
    return {controllers: path for _, controllers, path in lines}
