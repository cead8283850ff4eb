"""Adds a file to a directory, replaces another and deletes a third, as a container that may write its image does."""

from __future__ import annotations

import os

import _kernel


def observe(path: str, replaced: str, deleted: str) -> dict[str, object]:
    """Report the errno of each act, and the `entries` of the directory afterwards."""
    write = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    return {
        "add": _kernel.attempt_open(f"{path}/added", write),
        "replace": _kernel.attempt_open(f"{path}/{replaced}", write),
        "delete": _kernel.attempt(lambda: os.unlink(f"{path}/{deleted}")),
        "entries": sorted(os.listdir(path)),
    }
