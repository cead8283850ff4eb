"""Watches its own mount table below a directory while the host mounts something there."""

from __future__ import annotations

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def observe(path: str) -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report the mount points at and below `path` `before` and `after` the handshake.

    mount(2) returns on the host only when the new mount has been propagated, so there is nothing to wait for
    afterwards.
    """
    before = _points(path)
    yield {"before": before}
    return {"before": before, "after": _points(path)}


def _points(path: str) -> list[str]:
    points = [str(mount["point"]) for mount in _kernel.mountinfo()]
    return sorted(point for point in points if point == path or point.startswith(f"{path}/"))
