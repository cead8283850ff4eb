"""Finds out which files of the kernel's could be written; writes nothing."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def observe(files: list[str], trees: list[str]) -> dict[str, object]:
    """Report the errno of opening each of the `files` for writing, and what is `writable` in whole `trees`.

    The files of the trees are not opened but asked about, by access(2): some belong to drivers that nobody here knows.
    `looked_at` is how many there were. Links are followed where they stand directly in a directory that was named.
    """
    found = [path for tree in trees for path in _files(tree)]
    return {
        "files": {path: _kernel.attempt_open(path, os.O_WRONLY | os.O_NONBLOCK)["errno"] for path in files},
        "writable": sorted(path for path in found if os.access(path, os.W_OK)),
        "looked_at": len(found),
    }


def _files(tree: str) -> Iterator[str]:
    for path in (f"{tree}/{name}" for name in _kernel.entries(tree)):
        if not os.path.isdir(path):
            yield path
        for directory, _, names in os.walk(path):
            yield from (f"{directory}/{name}" for name in names)
