"""Calls that a usual filter denies, with arguments that fail in another way, or not at all, where nothing filters them.

vhangup(2) is the exception, for it takes no arguments: there the kernel may be who says EPERM.

Each is made in a child of its own, for a filter may kill. `arguments` are those that were given, for the filter may go
by them.
"""

from __future__ import annotations

import _kernel

BAD_ADDRESS = 1  # EFAULT, before any capability is asked for
KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING = 0, -3
PER_LINUX_UNSET_RANDOMIZE = 0x0040000
CLOCK_REALTIME = 0
UFFD_USER_MODE_ONLY = 1
FAN_REPORT_FID = 0x200  # without which only CAP_SYS_ADMIN gets a group
Q_SYNC = 0x800001 << 8
FREE = 500  # a number that no architecture has given to a call
MPOL_DEFAULT = 0


def observe() -> dict[str, object]:
    """Report `attempts`, each by its call's name, `500` for a call that does not exist."""
    here = _kernel.syscall("getpid")
    calls: list[tuple[str, tuple[int, ...]]] = [
        ("keyctl", (KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)),
        ("add_key", (BAD_ADDRESS, BAD_ADDRESS, 0, 0, KEY_SPEC_SESSION_KEYRING)),
        ("request_key", (BAD_ADDRESS, BAD_ADDRESS, 0, 0)),
        ("userfaultfd", (UFFD_USER_MODE_ONLY,)),
        ("io_uring_setup", (1, BAD_ADDRESS)),
        ("unshare", (_kernel.CLONE_NEWUSER,)),
        ("setns", (-1 & 0xFFFFFFFF, 0)),
        ("personality", (PER_LINUX_UNSET_RANDOMIZE,)),
        ("kcmp", (here, here, _kernel.KCMP_VM, 0, 0)),
        ("clock_settime", (CLOCK_REALTIME, BAD_ADDRESS)),
        ("mount", (BAD_ADDRESS,) * 5),
        ("mbind", (0, 0, MPOL_DEFAULT, 0, 0, 0)),
        ("set_mempolicy", (MPOL_DEFAULT, 0, 0)),
        ("move_pages", (0, 0, 0, 0, 0, 0)),
        ("migrate_pages", (0, 64, BAD_ADDRESS, BAD_ADDRESS)),
        ("fanotify_init", (FAN_REPORT_FID, 0)),
        ("quotactl", (Q_SYNC, BAD_ADDRESS, 0, 0)),
        ("vhangup", ()),
        ("clone3", (BAD_ADDRESS, 64)),
        (str(FREE), ()),
    ]
    return {"attempts": {name: _attempt(name, arguments) for name, arguments in calls}}


def _attempt(name: str, arguments: tuple[int, ...]) -> dict[str, object]:
    made = _kernel.in_child(lambda: _kernel.attempt_syscall(name, *arguments))
    return {**made, "arguments": [*arguments, *[0] * (6 - len(arguments))]}
