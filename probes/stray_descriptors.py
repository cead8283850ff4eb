"""Uses descriptors that a launcher may have left open: a directory of the host's, and a namespace of the host's."""

from __future__ import annotations

import os

import _kernel


def observe(directory: int, namespace: int, file: str) -> dict[str, object]:
    """Report the attempts `file` (open that file in the directory), `above` (open the directory's parent), `setns`."""
    return {
        "file": _kernel.attempt_open(file, directory=directory),
        "above": _kernel.attempt_open("..", os.O_PATH | os.O_DIRECTORY, directory),
        "setns": _kernel.in_child(lambda: _kernel.attempt_syscall("setns", namespace, 0)),
    }
