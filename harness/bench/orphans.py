"""The processes that a command leaves behind: adopted, waited for, and ended.

A process whose parent is dead becomes a child of the nearest ancestor that takes orphans in. While the benchmark is
that one, whatever a command has started is found among its own children sooner or later, also daemons, and also what
is left when the command is killed. prctl(2), PR_SET_CHILD_SUBREAPER
"""

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from harness.runtime.syscalls import libc

DEATH = 5.0  # seconds that a killed process may take
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37


@contextlib.contextmanager
def adopted() -> Iterator[None]:
    """Take orphans in while the context lasts, and end those that are left, and all that have become children in it."""
    known = children()
    before = ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        end_all(known)
        libc.prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def children(of: int | str = "self") -> set[int]:
    """Return the process ids of a process's children, those included that are adopted, or dead and unreaped."""
    return {int(pid) for path in Path(f"/proc/{of}/task").glob("*/children") for pid in path.read_text().split()}


def await_all(known: set[int], end: float) -> tuple[int, int]:
    """Wait for all children but the known ones, until a time of time.monotonic().

    Return the CPU time that they have used, and when the last one ended: nanoseconds, 0 if all had ended already.
    """
    cpu = last = 0
    while new := children() - known:
        for pid in new:
            if not _has_ended(pid, 0):
                if not _has_ended(pid, max(0.0, end - time.monotonic())):
                    return cpu, last
                last = time.monotonic_ns()
            usage = os.wait4(pid, 0)[2]
            cpu += round((usage.ru_utime + usage.ru_stime) * 1e9)
    return cpu, last


def names(known: set[int]) -> list[str]:
    """Return the names of the programs of all children but the known ones, each once."""
    return sorted({_name(pid) for pid in children() - known})


def end_all(known: set[int]) -> None:
    """Kill all children but the known ones, and what becomes a child by that.

    One that does not die within seconds is frozen, or waits for a device for ever: it is not waited for any longer.
    """
    stubborn = set(known)
    while new := children() - stubborn:
        for pid in new:
            os.kill(pid, signal.SIGKILL)  # a child that nobody else waits for, so the number is still its own
            if _has_ended(pid, DEATH):
                os.waitpid(pid, 0)
            else:
                stubborn.add(pid)


def _has_ended(pid: int, seconds: float) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(pidfd)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return str(pid)
