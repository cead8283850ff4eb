"""Tries to open a file, and does nothing with it."""

from __future__ import annotations

import os

import _kernel


def observe(path: str) -> dict[str, object]:
    """Report under `read` and `write` the errno of opening it so."""
    return {
        "read": _kernel.attempt_open(path, os.O_RDONLY),
        "write": _kernel.attempt_open(path, os.O_WRONLY),
    }
