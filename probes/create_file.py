"""Tries to create a file, lets the host look for it, and removes it again if that worked."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def observe(path: str) -> Generator[dict[str, object], object, dict[str, object]]:
    """Report the `errno` of open(path, O_CREAT | O_EXCL | O_WRONLY); the host looks at the handshake."""
    outcome = _kernel.attempt_open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    yield outcome
    if outcome["errno"] is None:
        os.unlink(path)
    return outcome
