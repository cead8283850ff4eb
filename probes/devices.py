"""Lists what is in /dev, with every directory of the same file system: nodes, links, and whatever else."""

from __future__ import annotations

import os
import stat

import _kernel


def observe() -> dict[str, object]:
    """Report `entries` by their paths, each with kind, mode, uid, gid, number ("1:3") and target, and `device` of /dev.

    A directory that is another file system is an entry, and not looked into.
    """
    device = os.stat("/dev").st_dev
    entries: dict[str, object] = {}
    directories = ["/dev"]
    while directories:
        directory = directories.pop()
        for name in sorted(os.listdir(directory)):
            path = f"{directory}/{name}"
            status = os.lstat(path)
            entries[path] = _entry(path, status)
            if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                directories.append(path)
    return {"device": device, "entries": entries}


def _entry(path: str, status: os.stat_result) -> dict[str, object]:
    return {
        "kind": _kernel.kind(status.st_mode),
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "number": _kernel.device_number(status),
        "target": os.readlink(path) if stat.S_ISLNK(status.st_mode) else None,
    }
