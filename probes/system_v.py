"""Looks for objects of System V IPC: by their key, and in the tables of /proc."""

from __future__ import annotations

import _kernel


def observe(key: int) -> dict[str, object]:
    """Report how `shmget`, `msgget` and `semget` end for a key, and `keys`, those in each table: sysvipc(7).

    Nothing is made: without IPC_CREAT these calls only find.
    """
    return {
        "shmget": _kernel.attempt_syscall("shmget", key, 0, 0),
        "msgget": _kernel.attempt_syscall("msgget", key, 0),
        "semget": _kernel.attempt_syscall("semget", key, 0, 0),
        "keys": {table: _keys(table) for table in ("shm", "msg", "sem")},
    }


def _keys(table: str) -> object:
    text = _kernel.read(f"/proc/sysvipc/{table}")
    return [int(line.split()[0]) for line in text.splitlines()[1:]] if isinstance(text, str) else text
