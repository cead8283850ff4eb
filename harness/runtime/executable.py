"""The launcher's own executable, which no program may become: CVE-2019-5736.

Until execve(2) the child runs what the launcher runs, so `/proc/self/exe` means a file of the host's, and a link of the
image's to that (or a script with it after `#!`) would have it run inside, with the image's libraries, by somebody who
could then write to it. The first is refused before, by the lookup. The second only the kernel's own lookup meets, so
the launcher looks afterwards at what has been started. In between the kernel refuses to write to what is running
(ETXTBSY), but for Linux 6.11 and 6.12.
"""

import ctypes
import errno
import os
import struct

from harness.runtime.config import Config
from harness.runtime.privileges import SEARCH_ON, candidates
from harness.runtime.step import Call, Packed, Saved, Step
from harness.runtime.syscalls import (
    AT_FDCWD,
    RESOLVE_NO_MAGICLINKS,
    STATX_INO,
    STATX_MNT_ID,
    STATX_SIZE,
    O,
    invoke,
    open_how,
)

PF_FORKNOEXEC = 0x40  # include/linux/sched.h
REFUSED = "execute: the program is the launcher's own executable, by a link to /proc/self/exe"
STATX = struct.Struct("=32xQ96x2IQ")  # stx_ino, stx_dev_major, stx_dev_minor, stx_mnt_id


def refuse_links(config: Config) -> Step:
    """Refuse a program that is reached by one of those links of /proc that are no paths."""
    how = open_how(O.PATH | O.CLOEXEC, RESOLVE_NO_MAGICLINKS)
    calls: list[Call] = []
    for path in candidates(config):
        opened = Call("openat2", (AT_FDCWD, path, Packed(how, "O_PATH|O_CLOEXEC, RESOLVE_NO_MAGICLINKS"), len(how)))
        calls += [
            Call(opened.name, opened.arguments, SEARCH_ON, saves="program"),
            Call("close", (Saved("program"),), (errno.EBADF,)),
        ]
    return Step("program", "/proc/self/exe is still the launcher's, a file of the host's: openat2(2)", tuple(calls))


def is_our_own(pid: int) -> bool:
    """Return whether a process runs the launcher's executable by the launcher's mount of it.

    By a mount of the container's own the same file is the config's choice. Who may not look at the process, an ordinary
    user at another's, is told nothing; but then the other may not write to the user's files either.

    In the midst of its execve(2) a process has let its parent go on, and is still what it was: that is waited for. One
    that is killed in there lets it go on likewise, and for ever has executed nothing; but then it has no executable.
    """
    try:
        while _same_as_ours(pid):
            if not _forked_only(pid):
                return _same_as_ours(pid)  # it may have been executed in between
            os.sched_yield()
        return False
    except OSError:
        return False


def _same_as_ours(pid: int) -> bool:
    return _identity(f"/proc/{pid}/exe") == _identity("/proc/self/exe")


def _forked_only(pid: int) -> bool:
    """Return whether a process has not executed a program since it was forked: proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        flags = file.read().rpartition(b")")[2].split()[6]
    return bool(int(flags) & PF_FORKNOEXEC)


def _identity(path: str) -> tuple[int, ...]:
    found = ctypes.create_string_buffer(STATX_SIZE)
    invoke("statx", AT_FDCWD, path.encode() + b"\0", 0, STATX_INO | STATX_MNT_ID, found)
    return STATX.unpack_from(found)
