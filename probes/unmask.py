"""Tries to take away the mounts that cover parts of /proc and /sys, and the read-only flag of the root."""

from __future__ import annotations

import _kernel


def observe() -> dict[str, object]:
    """Report the attempts made `directly`, and those made `nested` in user and mount namespaces of its own.

    Attempts are named "umount /proc/sys", "remount /" and, where a namespace was to be made first,
    "unshare". `covers` are the mount points below /proc and /sys. A mount namespace with another owner gets
    all its mounts locked: they come off together or not at all, and no flag can be dropped
    (mount_namespaces(7)). Everything happens in children, each in a mount namespace of its own if it may
    have one, so that no mount of the container is really lost.
    """
    covers = sorted(filter(_is_cover, _kernel.mount_points()), reverse=True)  # what lies upon others comes off first
    nested = _kernel.CLONE_NEWUSER | _kernel.CLONE_NEWNS
    return {
        "covers": covers,
        "directly": _kernel.in_child(lambda: _lift(covers, _kernel.CLONE_NEWNS, needed=False)),
        "nested": _kernel.in_child(lambda: _lift(covers, nested, needed=True)),
    }


def _is_cover(point: str) -> bool:
    return point.startswith(("/proc/", "/sys/"))


def _lift(covers: list[str], namespaces: int, needed: bool) -> dict[str, object]:
    unshare = _kernel.attempt_syscall("unshare", namespaces)
    if unshare["errno"] is None:
        _kernel.syscall("mount", None, "/", None, _kernel.MS_REC | _kernel.MS_PRIVATE, None)
    elif needed:
        return {"unshare": unshare}
    remount = _kernel.MS_REMOUNT | _kernel.MS_BIND
    attempts: dict[str, object] = {}
    attempts["remount /"] = _kernel.attempt_syscall("mount", None, "/", None, remount, None)
    for cover in covers:
        attempts[f"umount {cover}"] = _kernel.attempt_syscall("umount2", cover, _kernel.MNT_DETACH)
    return attempts
