"""Attempts to reach others without any file: by an abstract Unix socket, and by a signal."""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds
import os

import _kernel

SIGUSR1 = 10


def observe(name: str, pid: int) -> dict[str, object]:
    return {
        "connect": _kernel.attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(f"\0{name}")),
        "signal": _kernel.attempt(lambda: os.kill(pid, SIGUSR1)),
    }
