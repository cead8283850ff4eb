"""What runtimes leave on the host, also where all goes well: empty cgroups, folders in /run, mounts. It is removed."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from harness.bait import mounts_at
from harness.runtime.syscalls import MNT, invoke

CGROUPS = "/sys/fs/cgroup"


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
