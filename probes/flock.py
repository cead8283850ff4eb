"""Takes an exclusive lock on a file that it can only read, and holds it until the host has looked: flock(2)."""

from __future__ import annotations

import fcntl
import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def observe(path: str) -> Generator[dict[str, object], object, dict[str, object]]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        outcome = _kernel.attempt(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB))
        yield {}
        return outcome
    finally:
        os.close(descriptor)
