"""Asks for a descriptor by which page faults are answered in user space: userfaultfd(2)."""

from __future__ import annotations

import os

import _kernel

UFFD_USER_MODE_ONLY = 1


def observe() -> dict[str, object]:
    """Report the errnos of three ways: `all_faults`, those of the process alone (`user_faults`), and the `device`."""
    return {
        "all_faults": _kernel.in_child(lambda: _kernel.attempt_syscall("userfaultfd", os.O_CLOEXEC)),
        "user_faults": _kernel.in_child(
            lambda: _kernel.attempt_syscall("userfaultfd", os.O_CLOEXEC | UFFD_USER_MODE_ONLY)
        ),
        "device": _kernel.attempt_open("/dev/userfaultfd", os.O_RDWR),
    }
