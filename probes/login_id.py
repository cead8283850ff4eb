"""Tries to take another login id, by which the audit log knows who a process works for: proc_pid_loginuid(5)."""

from __future__ import annotations

import _kernel

FILE = "/proc/self/loginuid"


def observe(uid: int) -> dict[str, object]:
    """Report how it ends to `write` an id, and the id `before` and `after`; only this process could have it."""
    before = _kernel.read_text(FILE)
    write = _kernel.attempt(lambda: _kernel.write(FILE, str(uid)))
    return {"before": before, "write": write, "after": _kernel.read_text(FILE)}
