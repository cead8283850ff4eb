"""Reads from a block device's file system past the page cache, and says how long that took."""

from __future__ import annotations

import mmap
import os
import time

CHUNK = 1 << 18


def observe(directory: str, name: str, size: int) -> dict[str, object]:
    """Report how many bytes were `read` of the file, with O_DIRECT, in how many `seconds`."""
    buffer = mmap.mmap(-1, CHUNK)  # a page's alignment is that which O_DIRECT wants: open(2)
    descriptor = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_DIRECT)
    try:
        begun = time.monotonic()
        done = 0
        while done < size:
            count = os.preadv(descriptor, [buffer], done)
            if not count:
                break
            done += count
        return {"read": done, "seconds": time.monotonic() - begun}
    finally:
        os.close(descriptor)
