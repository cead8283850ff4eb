"""Tries to take another login id, by which the audit log knows who a process works for: proc_pid_loginuid(5)."""

from __future__ import annotations

import os

import _kernel

FILE = "/proc/self/loginuid"


def observe(uid: int) -> dict[str, object]:
    """Report how it ends to `write` an id, and the id `before` and `after`; only this process could have it."""
    before = _kernel.read_text(FILE)
    return {"before": before, "write": _kernel.attempt(lambda: _write(str(uid))), "after": _kernel.read_text(FILE)}


def _write(text: str) -> None:
    file = os.open(FILE, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
