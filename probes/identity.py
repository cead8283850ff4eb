"""Names and ids: the names of uname(2), user and group ids, supplementary groups."""

from __future__ import annotations

import os

import _kernel

UTSNAME = ["sysname", "hostname", "release", "version", "machine", "domainname"]
UTSNAME_LENGTH = 65  # __NEW_UTS_LEN + 1


def observe() -> dict[str, object]:
    # os.uname has no domainname, and /proc/sys/kernel/domainname may be masked.
    names = bytearray(len(UTSNAME) * UTSNAME_LENGTH)
    _kernel.syscall("uname", names)
    facts: dict[str, object] = {
        field: names[UTSNAME_LENGTH * position :].partition(b"\0")[0].decode(errors="backslashreplace")
        for position, field in enumerate(UTSNAME)
    }
    facts["uid"], facts["euid"], facts["suid"] = os.getresuid()
    facts["gid"], facts["egid"], facts["sgid"] = os.getresgid()
    facts["groups"] = sorted(os.getgroups())
    return facts
