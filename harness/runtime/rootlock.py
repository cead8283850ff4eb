"""The lock by which launchers tell each other that a container lives on a root. flock(2).

Several containers may live on one root at once, and what one launcher has made in it others come to rely on: rmdir(2)
of a mount point detaches what they have mounted there. So each shares the lock, and only who gets it alone may remove.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from harness.runtime import members
from harness.runtime.errors import StartError

NO_LOCK = -1  # the user may enter the root, but not read it


@contextlib.contextmanager
def shared(root: int, rootfs: str) -> Iterator[int]:
    """Share the lock on a root while the context lasts; yield the descriptor that holds it, or NO_LOCK.

    Raises StartError where somebody keeps it to himself; who clears up has it for a moment only.
    """
    lock = _open(root)
    try:
        end = time.monotonic() + members.PATIENCE
        while lock != NO_LOCK and not _take(lock, fcntl.LOCK_SH):
            if time.monotonic() > end:
                raise StartError(f"lock {rootfs}: EWOULDBLOCK; a program has locked this root, lslocks(8) tells which")
            time.sleep(members.PAUSE)
        yield lock
    finally:
        _close(lock)


def alone(lock: int) -> bool:
    """Take a lock that was shared for oneself; return whether that could be done. Where there is none it can."""
    return lock == NO_LOCK or _take(lock, fcntl.LOCK_EX)


@contextlib.contextmanager
def unused(root: int) -> Iterator[bool]:
    """Yield whether no container lives on a root, and let none begin to while the context lasts."""
    lock = _open(root)
    try:
        yield alone(lock)
    finally:
        _close(lock)


def _open(root: int) -> int:
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    except PermissionError:
        return NO_LOCK


def _close(lock: int) -> None:
    if lock != NO_LOCK:
        os.close(lock)


def _take(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
