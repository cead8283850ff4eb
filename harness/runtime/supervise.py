"""What is to be done while a container runs: wait for it, pass on signals, keep its deadline, reap its orphans."""

import contextlib
import ctypes
import math
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from harness.runtime import members
from harness.runtime.config import Config
from harness.runtime.signals import PASSED_ON, exit_status
from harness.runtime.step import CHANNEL
from harness.runtime.syscalls import PR, invoke, libc

DEADLINE_STATUS = 124  # as timeout(1)
SHIM = b"init"  # what a PID 1 of ours is called
GLANCE = 1.0  # seconds between two looks at what version 1's freezer may hold up


def shim_wanted(config: Config) -> bool:
    """Return whether the program is to run under a PID 1 that reaps, as `docker run --init` has it."""
    return bool(config.get("annotations", {}).get("isoproof.init") == "true")


def shim(terminal: bool) -> None:
    """Fork; the child returns to become the program, the parent stays as PID 1, reaps, and ends with the program.

    In a `terminal` of its own the program is in the foreground alone: a Ctrl-C that both get would be passed on, too.
    It does not run before PID 1 is through with all that the launcher waits for: it could freeze that, and so outlive
    its deadline.
    """
    # The shim stays a copy of the launcher: nobody inside may look into its memory or environment, not even at first.
    libc.prctl(PR.SET_DUMPABLE.value, ctypes.c_ulong(0), 0, 0, 0)
    _hide_arguments()
    waiting, ready = os.pipe()
    program = os.fork()
    if program == 0:
        os.close(ready)
        libc.prctl(PR.SET_PDEATHSIG.value, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)  # not inherited
        if terminal:
            _take_foreground()
        os.read(waiting, 1)  # the end, when the other end is closed
        os.close(waiting)
        return
    os.close(waiting)
    for number in PASSED_ON:
        signal.signal(number, lambda number, _frame: _signal(program, number))
    os.close(CHANNEL)  # not before: the launcher takes it for the sign that signals can be passed on
    os.close(ready)
    while True:
        pid, status = os.wait()
        if pid == program:
            os._exit(exit_status(status))


def _hide_arguments() -> None:
    """Write another name over the launcher's arguments, which everybody may read: proc_pid_cmdline(5).

    The kernel reads them where execve(2) has put them, one behind the other, and the first is what the C library calls
    the program by. Where something else is there, nothing is written.
    """
    arguments = b"".join(os.fsencode(argument) + b"\0" for argument in sys.orig_argv)
    place = ctypes.c_void_p.in_dll(libc, "program_invocation_name").value
    if place and ctypes.string_at(place, len(arguments)) == arguments:
        last = len(arguments) - 1  # stays NUL, or the kernel goes on reading in the environment
        ctypes.memmove(place, SHIM.ljust(last, b"\0"), last)


def _take_foreground() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # which stops those in the background who try
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait(pid: int, pidfd: int, deadline: float | None, cgroups: Sequence[Path] = ()) -> int:
    """Wait for a container's first process and return its exit status as shells do.

    `deadline` is in seconds from now; when it is over the process is killed and the status is 124. Then it is left to
    the end of the cell to reap it: a process that is frozen does not die before that thaws it. In the `cgroups` of
    version 1 nothing that is frozen dies, whoever kills it, nor does the first process of a PID namespace end while
    another one is; nothing tells when that is so, so it is looked for from time to time.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    frozen = [cgroup for cgroup in cgroups if (cgroup / "freezer.state").exists()]
    end = math.inf if deadline is None else time.monotonic() + deadline
    while (left := end - time.monotonic()) > 0:
        pause = min(left, GLANCE) if frozen else left
        if poll.poll(None if pause == math.inf else pause * 1000):
            return exit_status(os.waitpid(pid, 0)[1])
        if frozen and members.is_dying(pid):
            for cgroup in frozen:
                members.thaw(cgroup)
    kill(pidfd)
    return DEADLINE_STATUS


def kill(pidfd: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to the process behind a pidfd; one that has ended already is no error."""
    with contextlib.suppress(ProcessLookupError):
        invoke("pidfd_send_signal", pidfd, number, 0, 0)
