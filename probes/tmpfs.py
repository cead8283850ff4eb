"""Asks every tmpfs how much it holds, and exhausts one of them: bytes first, then files."""

from __future__ import annotations

import os

import _kernel

BLOCK = bytes(1 << 16)
NAME = "isoproof-filling"


def observe(path: str, most_bytes: int, most_files: int) -> dict[str, object]:
    """Report `bounds`, the `bytes` and `files` that fit into each mount, and what stopped `writing` and `making`.

    Each of these two has the `count` of bytes or files that there were room for, and the `errno`, null where the bound
    given was reached first. What was made is removed.
    """
    return {
        "bounds": {point: _bounds(point) for point in _kernel.mount_points("tmpfs")},
        "writing": _write(f"{path}/{NAME}", most_bytes),
        "making": _make(f"{path}/{NAME}", most_files),
    }


def _bounds(point: str) -> dict[str, int]:
    status = os.statvfs(point)
    return {"bytes": status.f_blocks * status.f_frsize, "files": status.f_files}


def _write(path: str, most: int) -> dict[str, object]:
    count = 0
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC)
    try:
        while count < most:
            count += os.write(file, BLOCK)
    except OSError as error:
        return {"count": count, "errno": _kernel.errno_name(error.errno)}
    finally:
        os.close(file)
        os.unlink(path)
    return {"count": count, "errno": None}


def _make(path: str, most: int) -> dict[str, object]:
    count = 0
    try:
        while count < most:
            os.close(os.open(f"{path}-{count}", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC))
            count += 1
    except OSError as error:
        return {"count": count, "errno": _kernel.errno_name(error.errno)}
    finally:
        for number in range(count):
            os.unlink(f"{path}-{number}")
    return {"count": count, "errno": None}
