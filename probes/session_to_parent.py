"""A forbidden file, before and after a child has handed its own session keyring to its parent: keyctl(2)."""

from __future__ import annotations

import _kernel

KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_SESSION_TO_PARENT = 1, 18


def observe(path: str) -> dict[str, object]:
    """Report `before` and `after`, the attempts to open it, and `handed_over`, the child's keyctl(2).

    The kernel gives the parent new credentials for that, made of the child's and the parent's own.
    """
    before = _kernel.attempt_open(path)
    handed_over = _kernel.in_child(_hand_over)
    return {"before": before, "handed_over": handed_over, "after": _kernel.attempt_open(path)}


def _hand_over() -> dict[str, object]:
    _kernel.syscall("keyctl", KEYCTL_JOIN_SESSION_KEYRING, None)
    return _kernel.attempt_syscall("keyctl", KEYCTL_SESSION_TO_PARENT)
