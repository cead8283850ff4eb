"""Files that somebody else has put there."""

import os


def without_waiting(path: str, flags: int) -> int:
    """An opener for open(): a FIFO has nobody wait who reads it before somebody writes, but is empty. fifo(7)."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor
