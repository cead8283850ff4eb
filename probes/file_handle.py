"""Tries to open a file of the host by its handle, without a path: open_by_handle_at(2)."""

from __future__ import annotations

import os
import struct

import _kernel


def observe(mount: str, handle: str, handle_type: int, token: str) -> dict[str, object]:
    """Report the errno, and `secret`: whether what was opened holds the token.

    `mount` is a directory on the file's own file system. A handle is the number of an inode, and no secret.
    """
    content = bytes.fromhex(handle)
    directory = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        packed = struct.pack("Ii", len(content), handle_type) + content
        opened = _kernel.syscall("open_by_handle_at", directory, bytearray(packed), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "secret": False}
    finally:
        os.close(directory)
    try:
        return {"errno": None, "secret": token.encode() in os.read(opened, 4096)}
    finally:
        os.close(opened)
