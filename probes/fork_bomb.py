"""A fork bomb: every process starts others until the kernel refuses, and then tries again and again."""

from __future__ import annotations

import os
import select
import time

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

PAUSE = 0.002  # seconds between two attempts in vain, so that the machine stays of use


def observe(most: int = 256, seconds: float = 3.0) -> Generator[dict[str, object], object, dict[str, object]]:
    """Report whether a fork was `refused`, and how many `tasks` there were then; the host acts while the bomb goes on.

    The kernel counts an attempt before it refuses it, so what a cgroup tells may be more than there are. The bomb is in
    a session of its own and goes on after the probe, until the container ends. No more than `most` processes are
    started where nothing stops it, and then it waits `seconds` for a refusal.
    """
    fuse, lighter = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # one byte for each process that may still be started
    os.write(lighter, bytes(most))
    report, refusal = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    if os.fork() == 0:
        os.setsid()
        _explode(fuse, refusal)
    ended = select.select([report], [], [], seconds)
    tasks = len(_kernel.processes())
    facts: dict[str, object] = {"refused": ended[0] != [], "tasks": tasks}
    yield facts
    return facts


def _explode(fuse: int, refusal: int) -> None:
    """Start processes that do the same; nobody returns from here."""
    while True:
        try:
            os.read(fuse, 1)
        except BlockingIOError:
            select.select([], [], [])
        try:
            os.fork()
        except OSError:
            _kernel.attempt(lambda: os.write(refusal, b"."))
            time.sleep(PAUSE)
