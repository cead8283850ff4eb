"""Lists a directory."""

from __future__ import annotations

import os

import _kernel


def observe(path: str) -> dict[str, object]:
    """Report `entries`, sorted, and the `device` that the directory is on; or the `errno` of listing it."""
    try:
        return {"errno": None, "device": os.stat(path).st_dev, "entries": sorted(os.listdir(path))}
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "device": None, "entries": []}
