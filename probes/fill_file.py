"""Writes a file until it is as large as wanted or the kernel refuses, and leaves it."""

from __future__ import annotations

import os

import _kernel

BLOCK = bytes(1 << 16)


def observe(path: str, most: int) -> dict[str, object]:
    """Report how many bytes were `written` and the `errno` of the refusal, null where there were `most` of them."""
    written = 0
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        while written < most:
            written += os.write(file, BLOCK)
    except OSError as error:
        return {"written": written, "errno": _kernel.errno_name(error.errno)}
    return {"written": written, "errno": None}
