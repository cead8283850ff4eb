"""What is in a cgroup: its processes and the cgroups below it; to freeze, thaw, kill and remove them.

Both versions, told apart by the files that are there: version 2 has cgroup.freeze and cgroup.kill in every cgroup,
version 1 has freezer.state in the hierarchy of the freezer alone. cgroups(7)
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PATIENCE = 2.0  # seconds that the kernel gets to freeze, or to let go of a cgroup whose last process has just died
PAUSE = 0.002
PF_EXITING = 0x4  # include/linux/sched.h


def descendants(cgroup: Path) -> list[Path]:
    """Return the cgroups below a cgroup, innermost first."""
    return [Path(path) for path, _, _ in os.walk(cgroup, topdown=False) if path != str(cgroup)]


def neighbours(cgroup: Path) -> list[Path]:
    """Return the cgroups directly below a cgroup, without the one in or below which this process itself is."""
    return [path for path in cgroup.iterdir() if path.is_dir() and os.getpid() not in processes(path)]


def processes(cgroup: Path) -> list[int]:
    """Return the processes in a cgroup and below it."""
    pids: list[int] = []
    for directory in [*descendants(cgroup), cgroup]:
        with contextlib.suppress(OSError):
            pids += map(int, (directory / "cgroup.procs").read_text().split())
    return [pid for pid in pids if pid]  # 0 is one that has no number in our PID namespace, and to kill(2) all of us


def is_dying(pid: int) -> bool:
    """Return whether a process is on its way out: its last thread is, or SIGKILL waits for it until it is thawed.

    PF_EXITING and the pending signals, proc_pid_stat(5).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    flags, threads, pending = int(fields[6]), int(fields[17]), int(fields[28])
    return bool(flags & PF_EXITING and threads == 1) or bool(pending >> (signal.SIGKILL - 1) & 1)


def freeze(cgroup: Path) -> bool:
    """Stop all processes in a cgroup and below it; return whether they stand still, which may take a moment.

    Raises OSError where the cgroup is neither of version 2 nor in the hierarchy of version 1's freezer.
    """
    if (cgroup / "cgroup.freeze").exists():
        _write(cgroup / "cgroup.freeze", "1")
        return _in_time(lambda: "frozen 1" in (cgroup / "cgroup.events").read_text())
    _write(cgroup / "freezer.state", "FROZEN")
    return _in_time(lambda: (cgroup / "freezer.state").read_text() == "FROZEN\n")


def thaw(cgroup: Path) -> None:
    """Let the processes in a cgroup and below it go on, whoever has stopped them; where there is no freezer, nothing.

    The inner cgroups too: a frozen task of version 1 does not even die before it is thawed.
    """
    for directory in [cgroup, *descendants(cgroup)]:
        for file, text in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
            with contextlib.suppress(OSError):
                _write(directory / file, text)


def kill(cgroup: Path, others: Iterable[Path] = ()) -> bool:
    """Kill everything in a cgroup and below it; return whether it was over in time.

    `others` are cgroups of the same container in other hierarchies, to be thawed with it.
    """
    cgroups = [cgroup, *others]

    def is_empty() -> bool:
        try:
            _write(cgroup / "cgroup.kill", "1")  # all at once; what forks meanwhile is caught as well
        except OSError:
            for pid in processes(cgroup):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if not processes(cgroup):
            return True
        for directory in cgroups:
            thaw(directory)
        return False

    return _in_time(is_empty)


def remove_inner(cgroup: Path) -> bool:
    """Remove the cgroups that were made below a cgroup; return whether all could be."""

    def is_bare() -> bool:
        left = descendants(cgroup)
        for inner in left:
            with contextlib.suppress(OSError):
                inner.rmdir()
        return not left

    return _in_time(is_bare)


def _in_time(done: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE)
    return True


def _write(path: Path, text: str) -> None:
    """Write into a file that is there: no cgroup file system lets a file be made."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
