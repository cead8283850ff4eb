"""Whether a process can restrict itself with Landlock, which takes no privilege: landlock(7)."""

from __future__ import annotations

import struct

import _kernel

CREATE_RULESET_VERSION = 1
ACCESS_FS_READ_DIR = 0x8
PR_SET_NO_NEW_PRIVS = 38


def observe() -> dict[str, object]:
    """Report the `version` of the ABI, and in `self` how a child fares that forbids itself to read directories."""
    return {
        "version": _kernel.attempt_syscall("landlock_create_ruleset", None, 0, CREATE_RULESET_VERSION),
        "self": _kernel.in_child(_restrict),
    }


def _restrict() -> dict[str, object]:
    before = _kernel.attempt_open("/")
    made = _kernel.attempt_syscall("landlock_create_ruleset", struct.pack("Q", ACCESS_FS_READ_DIR), 8, 0)
    _kernel.syscall("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    ruleset = made.get("result")
    restricted = _kernel.attempt_syscall("landlock_restrict_self", ruleset if isinstance(ruleset, int) else -1, 0)
    return {"restrict": restricted, "before": before, "after": _kernel.attempt_open("/")}
