"""Who holds a POSIX lock on a file, as F_GETLK tells (fcntl(2)): pid 0 is someone without a number here."""

from __future__ import annotations

import fcntl
import os
import struct

import _kernel

FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
TYPES = {fcntl.F_RDLCK: "F_RDLCK", fcntl.F_WRLCK: "F_WRLCK", fcntl.F_UNLCK: "F_UNLCK"}


def observe(path: str) -> dict[str, object]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "type": None, "pid": None}
    kind, _, _, _, pid = FLOCK.unpack(answer)
    return {"errno": None, "type": TYPES[kind], "pid": pid}
