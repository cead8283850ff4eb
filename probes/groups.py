"""The supplementary groups of a process, and whether it can get rid of them."""

from __future__ import annotations

import os

import _kernel


def observe() -> dict[str, object]:
    """Report `groups`, and under `drop` how setgroups(0, NULL) goes in a child.

    To lose a group can be to gain access: permissions of a file that exclude a group bind its members only
    (CVE-2014-8989).
    """
    return {
        "groups": sorted(os.getgroups()),
        "drop": _kernel.in_child(lambda: _kernel.attempt_syscall("setgroups", 0, None)),
    }
