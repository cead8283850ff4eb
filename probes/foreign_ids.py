"""Tries to use user ids that the user namespace may not have: those of files, of processes, of the map."""

from __future__ import annotations

import os

import _kernel


def observe(path: str, own: str, foreign: int) -> dict[str, object]:
    """Report whose file `path` is, and attempts to write it, to take it, and to become or give to `foreign`.

    `own` is a file that is made for it, and removed. `uid_map` and `gid_map` are attempts to write these maps
    once more, with what is in them.
    """
    status = os.stat(path)
    os.close(os.open(own, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        give = _kernel.attempt(lambda: os.chown(own, foreign, -1))
    finally:
        os.unlink(own)
    return {
        "uid": status.st_uid,
        "gid": status.st_gid,
        "write": _kernel.attempt_open(path, os.O_WRONLY),
        "take": _kernel.attempt(lambda: os.chown(path, 0, 0)),
        "give": give,
        "become": _kernel.in_child(lambda: _kernel.attempt_syscall("setresuid", foreign, foreign, foreign)),
        "uid_map": _kernel.attempt(lambda: _write_again("/proc/self/uid_map")),
        "gid_map": _kernel.attempt(lambda: _write_again("/proc/self/gid_map")),
    }


def _write_again(path: str) -> None:
    _kernel.write(path, _kernel.read_text(path))
