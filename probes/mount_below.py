"""Mounts a tmpfs on a directory and lets the host look before it takes the mount away again."""

from __future__ import annotations

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def observe(path: str) -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report `mount`, the errno of the attempt; the host looks at its own mount table at the handshake.

    Where mounts travel to the host, so does the unmount: nothing stays behind.
    """
    mount = _kernel.attempt(lambda: _kernel.syscall("mount", "isoproof", path, "tmpfs", 0, "size=64k"))
    yield {"mount": mount}
    if mount["errno"] is None:
        _kernel.syscall("umount2", path, _kernel.MNT_DETACH)
    return {"mount": mount}
