"""Bait that has no file, or one that only a name in memory leads to: what processes communicate by."""

import ctypes
import os
from pathlib import Path

from harness.canaries.base import Canary, Facts
from harness.runtime.syscalls import libc

IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0
EVERYBODY = 0o666


class SystemV(Canary):
    """A shared memory segment, a message queue and a semaphore set of System V, open to everyone: sysvipc(7).

    All three bear the same `key`, by which any process of their IPC namespace finds them.
    """

    def place(self) -> None:
        self.key = int(self.token[:7], 16) + 1  # 0 is IPC_PRIVATE, and the kernel prints keys with a sign
        flags = IPC_CREAT | IPC_EXCL | EVERYBODY
        segment = _checked(libc.shmget(self.key, 1, flags), "shmget")
        self.undo.callback(libc.shmctl, segment, IPC_RMID, None)
        queue = _checked(libc.msgget(self.key, flags), "msgget")
        self.undo.callback(libc.msgctl, queue, IPC_RMID, None)
        semaphores = _checked(libc.semget(self.key, 1, flags), "semget")
        self.undo.callback(libc.semctl, semaphores, 0, IPC_RMID)

    def facts(self) -> Facts:
        return {"key": self.key}


class MessageQueue(Canary):
    """A POSIX message queue that everyone may open: mq_overview(7)."""

    def place(self) -> None:
        self.name = f"isoproof-canary-{self.token}"
        path = f"/{self.name}".encode()
        queue = _checked(libc.mq_open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, EVERYBODY, None), "mq_open")
        self.undo.callback(libc.mq_unlink, path)
        self.undo.callback(os.close, queue)
        os.fchmod(queue, EVERYBODY)  # whatever the umask

    def facts(self) -> Facts:
        return {"name": self.name}


class SharedMemory(Canary):
    """A shared memory object of POSIX, which is a file in /dev/shm: shm_overview(7).

    `beside` is a path there that is free, for a probe that wants to make one of its own.
    """

    def place(self) -> None:
        self.path = Path("/dev/shm", f"isoproof-canary-{self.token}")
        self.undo.callback(self.path.unlink, missing_ok=True)
        self.path.write_text(self.token)
        self.path.chmod(EVERYBODY)

    def facts(self) -> Facts:
        return {**self.where(self.path), "token": self.token, "beside": f"{self.path}-beside"}


def _checked(result: int, call: str) -> int:
    """Return what a function of the C library returned; raises OSError where that is no number of an object."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result
