"""Asks the kernel for a key that nobody has: request_key(2)."""

from __future__ import annotations

import _kernel

SESSION_KEYRING = -3


def observe(name: str) -> dict[str, object]:
    """Report how the search ended.

    There is no callout information, for with it the kernel would start /sbin/request-key on the host to make the key.
    """
    return _kernel.attempt_syscall("request_key", "user", name, None, SESSION_KEYRING)
