"""Oddities for the process that launches a container, so that whatever a container inherits from it shows inside.

Most attributes of a process are handed on to its children and survive execve(2). Where the launcher's are the usual
ones, a runtime that resets nothing looks like one that resets everything.
"""

import contextlib
import fcntl
import os
import resource
import signal
import termios
from pathlib import Path

from harness.runtime.syscalls import PR, invoke

NAMESPACE, DIRECTORY = 8, 9  # the descriptors that a careless launcher has left open
ADDR_NO_RANDOMIZE = 0x0040000
IOPRIO_WHO_PROCESS, IOPRIO_IDLE = 1, 3 << 13
MEBIBYTE = 1 << 20
SOFT_LIMITS = {resource.RLIMIT_FSIZE: 512 * MEBIBYTE, resource.RLIMIT_STACK: 6 * MEBIBYTE}


def leave_open(directory: Path) -> None:
    """Leave a directory of the host's and one of its namespaces open, for children too."""
    for path, number in (("/proc/self/ns/uts", NAMESPACE), (directory, DIRECTORY)):
        descriptor = os.open(path, os.O_RDONLY)
        if descriptor == number:
            os.set_inheritable(number, True)
        else:
            os.dup2(descriptor, number)
            os.close(descriptor)


def take_odd_attributes() -> None:
    """Take unusual values of everything that children inherit and an ordinary user may take back again."""
    Path("/proc/self/coredump_filter").write_text("0x7f")
    Path("/proc/self/oom_score_adj").write_text("300")
    invoke("prctl", PR.SET_TIMERSLACK, 123_456, 0, 0, 0)
    invoke("prctl", PR.SET_THP_DISABLE, 1, 0, 0, 0)
    invoke("ioprio_set", IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE)
    invoke("personality", ADDR_NO_RANDOMIZE)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.umask(0o007)
    for number in (signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    for limit, soft in SOFT_LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        with contextlib.suppress(ValueError):  # the hard limit is lower still, which will show as well
            resource.setrlimit(limit, (soft, hard))
    if os.geteuid() == 0:
        os.nice(5)  # an ordinary user could not lower it again (setpriority(2))


def take_terminal() -> None:
    """Get a controlling terminal; the process must be the leader of a session that has none."""
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
