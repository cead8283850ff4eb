"""Reads the mount table of its mount namespace: every mount, and the groups in which mounts are shared."""

from __future__ import annotations

import _kernel


def observe() -> dict[str, object]:
    """Report every mount, as `_kernel.mountinfo` names its fields, and three views of them.

    `points` are the mount points, one entry for each mount, sorted. `trees` says of each mount which part of
    which file system it shows, as "major:minor path"; `root_tree` is that of the mount that path lookup
    starts from. `shared` are the peer groups (mount_namespaces(7)) through which a mount or unmount travels
    to other mount namespaces.
    """
    mounts = _kernel.mountinfo()
    optional = [str(tag) for mount in mounts for tag in mount["optional"]]  # type: ignore[attr-defined]
    return {
        "mounts": mounts,
        "points": sorted(str(mount["point"]) for mount in mounts),
        "trees": sorted({_tree(mount) for mount in mounts}),
        "root_tree": next((_tree(mount) for mount in mounts if mount["point"] == "/"), None),
        "shared": sorted({int(tag[7:]) for tag in optional if tag.startswith("shared:")}),
    }


def _tree(mount: dict[str, object]) -> str:
    return f"{mount['device']} {mount['root']}"
