"""Puts a symbolic link in the place of a directory that the runtime has made, and may want to remove again."""

from __future__ import annotations

import os

import _kernel


def observe(path: str, target: str) -> dict[str, object]:
    """Report the errno; the directory is moved aside, with whatever is mounted in it."""
    return _kernel.attempt(lambda: _replace(path, target))


def _replace(path: str, target: str) -> None:
    os.rename(path, f"{path}-aside")
    os.symlink(target, path)
