"""Lists what is in /dev, with every directory of the same file system: nodes, links, and whatever else."""

from __future__ import annotations

import os
import stat

KINDS = {
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
}


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
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    return {
        "kind": KINDS[stat.S_IFMT(status.st_mode)],
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "number": f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if is_device else None,
        "target": os.readlink(path) if stat.S_ISLNK(status.st_mode) else None,
    }
