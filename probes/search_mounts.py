"""Looks for one file of the host below every mount point, and behind the root."""

from __future__ import annotations

import _kernel


def observe(path: str, device: int, inode: int) -> dict[str, object]:
    """Try the host's path, whole and with its front parts cut off, below each mount point and below `/..`.

    A bind mount shows a tree from any depth, so each tail of the path is tried. A mount that lies over the
    root itself is hidden from /, but not from `/..`: path lookup goes up to the uppermost mount there.
    Reports `tried`, the number of paths, and `found`, those that lead to this very device and inode.
    """
    parts = path.strip("/").split("/")
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    points = [point.rstrip("/") for point in (*_kernel.mount_points(), "/..")]
    candidates = [f"{point}/{tail}" for point in points for tail in tails]
    found = [path for path in candidates if _kernel.identity(path) == [device, inode]]
    return {"tried": len(candidates), "found": found}
