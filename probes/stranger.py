"""What an ordinary user of the host can open of the files that a runtime keeps there."""

from __future__ import annotations

import os

import _kernel

NOBODY = 65534


def observe(bundle: str, rootfs: str) -> dict[str, object]:
    """Report by path the errno of opening what is in the bundle beside the root, and where our runtime keeps records.

    None stands for one that could be opened. It is tried with the ids of nobody, and listed with one's own. The records
    are below /run where that can be written to, as it can when a daemon has been given one, and XDG_RUNTIME_DIR else.
    """
    paths = [path for path in _below(bundle) if not f"{path}/".startswith(f"{rootfs}/")]
    for folder in filter(os.path.isdir, (f"{parent}/isoproof" for parent in ("/run", os.environ["XDG_RUNTIME_DIR"]))):
        paths += [folder, *_below(folder)]
    return {"paths": _kernel.in_child(lambda: _opened_by_nobody(paths))}


def _below(directory: str) -> list[str]:
    return [os.path.join(parent, name) for parent, inner, files in os.walk(directory) for name in [*inner, *files]]


def _opened_by_nobody(paths: list[str]) -> dict[str, object]:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return {path: _kernel.attempt_open(path)["errno"] for path in paths}
