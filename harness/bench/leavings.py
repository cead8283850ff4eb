"""What is there no more in the end: what we have made, and what runtimes leave on the host also where all goes well.

These leave empty cgroups, folders in /run, mounts.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from harness.bait import mounts_at
from harness.runtime.syscalls import MNT, invoke

CGROUPS = "/sys/fs/cgroup"
ENDS = (signal.SIGTERM, signal.SIGHUP)
INTERRUPTIONS = (signal.SIGINT, *ENDS)


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Clear up also where it is not a person at the keyboard that ends it: these signals are as Ctrl-C."""
    before = [signal.signal(number, signal.default_int_handler) for number in ENDS]
    try:
        yield
    finally:
        for number, action in zip(ENDS, before, strict=True):
            signal.signal(number, action)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Have Ctrl-C and the like wait until the context is over; the processes that are started in it wait for ever.

    They inherit the mask. A signal that is blocked here is given to another thread, if there is one, and Python handles
    it in this one nevertheless: so it is kept, too.
    """
    kept: list[int] = []
    actions = [signal.signal(number, lambda number, _frame: kept.append(number)) for number in INTERRUPTIONS]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for interruption, action in zip(INTERRUPTIONS, actions, strict=True):
            signal.signal(interruption, action)
        for number in kept[:1]:
            signal.raise_signal(number)


@contextlib.contextmanager
def undone() -> Iterator[contextlib.ExitStack]:
    """Have a stack that is undone whole, also where somebody impatient presses Ctrl-C meanwhile, or once more."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack
        finally:
            with uninterrupted():
                stack.close()


@contextlib.contextmanager
def removed(cgroups: Sequence[str] = (), paths: Sequence[str] = ()) -> Iterator[None]:
    """Remove the cgroups of such names (fnmatch), and the files and folders, that are there in the end, not before.

    A cgroup that holds a process stays, and so does a folder that holds anything.
    """
    before = _cgroups(cgroups)
    absent = [path for path in paths if not os.path.exists(path)]
    try:
        yield
    finally:
        for cgroup in _cgroups(cgroups) - before:
            for path, _, _ in os.walk(cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        for path in absent:
            with contextlib.suppress(OSError):
                (os.rmdir if os.path.isdir(path) else os.unlink)(path)


def _cgroups(patterns: Sequence[str]) -> set[str]:
    """Return the cgroups whose names are such, without those that are inside one of them."""
    found = set()
    for path, inner, _ in os.walk(CGROUPS):
        ours = [name for name in inner if any(fnmatch(name, pattern) for pattern in patterns)]
        found |= {f"{path}/{name}" for name in ours}
        inner[:] = [name for name in inner if name not in ours]
    return found


def unmount_below(directory: Path) -> None:
    """Unmount all that is mounted below a directory."""
    for point in reversed(mounts_at(directory)):
        with contextlib.suppress(OSError):
            invoke("umount2", point.encode(), MNT.DETACH)
