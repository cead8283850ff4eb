"""Takes what the kernel counts for each user, so that nothing may be left for another process of the same one."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import struct
import time

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

F_SETPIPE_SZ = 1031
MEBIBYTE = 1 << 20
KEYCTL_CLEAR, KEY_SPEC_PROCESS_KEYRING = 7, -2
PATIENCE = 3.0  # seconds that the kernel gets to collect keys
FIRST_REAL_TIME = 34  # of those signals each that is sent is kept; one of the others only once
SI_QUEUE = -1
LIMITS = {resource.RLIMIT_NPROC: 40, resource.RLIMIT_SIGPENDING: 48, resource.RLIMIT_MSGQUEUE: 1 << 16}


def observe(user: int | None = None, most: int = 1 << 14) -> Generator[dict[str, object], object, dict[str, object]]:
    """Report by kind the `count` of those taken, and the errno of the refusal; null where `most` came first.

    On the host the probe becomes the `user` first. Nobody takes what is root's. Whatever was taken is held until the
    handshake is over, and then given back. The limits that everybody may choose for himself are low ones, for the
    others it takes all.
    """
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if os.getuid() == 0:
        raise ValueError("root's limits are the whole machine's")
    for limit, value in LIMITS.items():
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    signal.pthread_sigmask(signal.SIG_BLOCK, [FIRST_REAL_TIME])
    held: list[int] = []
    kinds: dict[str, Callable[[int], object]] = {
        "inotify": lambda _: held.append(_kernel.syscall("inotify_init1", os.O_CLOEXEC)),
        "pipes": lambda _: held.extend(_large_pipe()),
        "queues": lambda number: held.append(_queue(number)),
        "keys": lambda number: _kernel.syscall(
            "add_key", "user", f"isoproof-{number}", b".", 1, KEY_SPEC_PROCESS_KEYRING
        ),
        "signals": lambda _: _queue_signal(),
        "processes": lambda _: _process(),
    }
    keys = _keys()
    facts: dict[str, object] = {name: _kernel.until_refused(action, most) for name, action in kinds.items()}
    yield facts
    _give_keys_back(keys)
    return facts


def _large_pipe() -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(ends[1], F_SETPIPE_SZ, MEBIBYTE)
    except OSError:
        for end in ends:
            os.close(end)
        raise
    return ends


def _queue(number: int) -> int:
    """Make a message queue for one message of 1 KiB, without a name."""
    name = f"isoproof-{os.getpid()}-{number}"  # mq_open(3) has a slash before it, the system call has none
    attributes = struct.pack("=8q", 0, 1, 1024, 0, 0, 0, 0, 0)
    queue = _kernel.syscall("mq_open", name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600, attributes)
    _kernel.syscall("mq_unlink", name)
    return queue


def _queue_signal() -> None:
    information = struct.pack("=3i", FIRST_REAL_TIME, 0, SI_QUEUE).ljust(128, b"\0")
    _kernel.syscall("rt_sigqueueinfo", os.getpid(), FIRST_REAL_TIME, information)


def _keys() -> int:
    """How many keys the kernel counts for this user."""
    with open("/proc/key-users") as file:
        for line in file:
            user, _, counts = line.partition(":")
            if int(user) == os.getuid():
                return int(counts.split()[2].partition("/")[0])
    return 0


def _give_keys_back(before: int) -> None:
    """Let go of the keys, and wait until the kernel has collected them: it takes its time, even after our death."""
    _kernel.attempt_syscall("keyctl", KEYCTL_CLEAR, KEY_SPEC_PROCESS_KEYRING)  # where there is any: a filter may refuse
    keyring = 1  # itself goes with the process
    end = time.monotonic() + PATIENCE
    while _keys() > before + keyring and time.monotonic() < end:
        select.select([], [], [], 0.005)


def _process() -> None:
    if os.fork() == 0:
        signal.pause()  # until the runner ends the probe with its process group
        os._exit(0)
