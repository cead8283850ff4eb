"""Tries to create a file, and removes it again if that worked."""

from __future__ import annotations

import os

import _kernel


def observe(path: str) -> dict[str, object]:
    """Report the errno of open(path, O_CREAT | O_EXCL | O_WRONLY)."""
    outcome = _kernel.attempt_open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    if outcome["errno"] is None:
        os.unlink(path)
    return outcome
