"""Looks for a way to name a program that the kernel starts outside of every container: release_agent."""

from __future__ import annotations

import os

import _kernel

POINT = "/tmp"


def observe() -> dict[str, object]:
    """Report the errno of opening `release_agent` for writing, without writing, wherever there may be one.

    `mounted` does so in each mounted cgroup v1 hierarchy, and for `notify_on_release`, which arms it.
    `nested` mounts hierarchies anew, in user, cgroup and mount namespaces of its own (CVE-2022-0492): each
    controller of the container's own membership, and each that no hierarchy holds, for which the mount
    itself must fail. Real root never mounts any here: it would make a new hierarchy for the whole machine.
    """
    points = _kernel.mount_points("cgroup")
    paths = [f"{point}/{file}" for point in points for file in ("notify_on_release", "release_agent")]
    return {
        "mounted": {path: _kernel.attempt_open(path, os.O_WRONLY) for path in paths},
        "nested": _kernel.in_child(_nested),
    }


def _nested() -> dict[str, object]:
    bound = [line.split(":")[1] for line in _kernel.read_text("/proc/self/cgroup").splitlines()]
    rows = [line.split() for line in _kernel.read_text("/proc/cgroups").splitlines()]
    unbound = [row[0] for row in rows if row[1] == "0"]
    unshare = _kernel.attempt_syscall("unshare", _kernel.CLONE_NEWUSER | _kernel.CLONE_NEWCGROUP | _kernel.CLONE_NEWNS)
    if unshare["errno"] is not None:
        return {"unshare": unshare}
    return {
        "unshare": unshare,
        "bound": {name: _mount_and_open(name) for name in bound if name},
        "unbound": {name: _mount_and_open(name) for name in unbound},
    }


def _mount_and_open(controllers: str) -> dict[str, object]:
    mount = _kernel.attempt_syscall("mount", "cgroup", POINT, "cgroup", 0, controllers)
    if mount["errno"] is not None:
        return {"errno": mount["errno"], "mounted": False}
    outcome = _kernel.attempt_open(f"{POINT}/release_agent", os.O_WRONLY)
    _kernel.syscall("umount2", POINT, _kernel.MNT_DETACH)
    return {**outcome, "mounted": True}
