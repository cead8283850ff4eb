"""Looks at files and directories that a runtime may have covered, so that nothing of them is to be seen."""

from __future__ import annotations

import os
import stat

import _kernel

MOST = 64  # bytes that are read: enough to know that there is something


def observe(paths: list[str]) -> dict[str, object]:
    """Report `paths`, what each one is that exists; `*` in the place of a directory stands for all in its parent.

    Of a directory that is its `entries` and how it ends to `create` a file there, which none of the kernel's own lets
    anybody do; of others the `number` of a device and how many `bytes` could be read, or the errno of reading.
    """
    found = {path: _look(path) for pattern in paths for path in _matching(pattern)}
    return {"paths": {path: seen for path, seen in found.items() if seen != "ENOENT"}}


def _matching(pattern: str) -> list[str]:
    parent, star, rest = pattern.partition("/*/")
    if not star:
        return [pattern]
    return [f"{parent}/{name}/{rest}" for name in _kernel.entries(parent)]


def _look(path: str) -> object:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            entries = sorted(os.listdir(path))
            return {
                "kind": "directory",
                "entries": entries,
                "create": _kernel.attempt_create(f"{path}/isoproof")["errno"],
            }
    except NotADirectoryError:
        return "ENOENT"  # what `*` has found is no directory
    except OSError as error:
        return _kernel.errno_name(error.errno)
    text = _kernel.read(path, MOST)
    return {
        "kind": _kernel.kind(status.st_mode),
        "number": _kernel.device_number(status),
        "bytes": len(text) if isinstance(text, str) else text["errno"],
    }
