"""What can be done to a process that serves a Unix socket, by the descriptor of it that SO_PEERPIDFD gives: unix(7)."""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds
import os

import _kernel
from _kernel import attempt_syscall

SO_PEERPIDFD = 77
PIDFD_GET_MNT_NAMESPACE = 0xFF03


def observe(path: str, descriptor: int) -> dict[str, object]:
    """Report the errno of getting the descriptor, and the acts.

    `signal` is signal 0, `take` copies one of the server's descriptors, by its number, and reads the `text` in its
    file; `namespace` opens its mount namespace, and `enter` enters it.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(2.0)
    try:
        client.connect(path)
        pidfd = int.from_bytes(client.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4), "little")
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno)}
    return {
        "errno": None,
        "signal": attempt_syscall("pidfd_send_signal", pidfd, 0, None, 0),
        "take": _take(pidfd, descriptor),
        "namespace": attempt_syscall("ioctl", pidfd, PIDFD_GET_MNT_NAMESPACE, 0),
        "enter": _kernel.in_child(lambda: attempt_syscall("setns", pidfd, _kernel.CLONE_NEWNS)),
    }


def _take(pidfd: int, number: int) -> dict[str, object]:
    try:
        descriptor = _kernel.syscall("pidfd_getfd", pidfd, number, 0)
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "text": None}
    return {"errno": None, "text": os.pread(descriptor, 4096, 0).decode(errors="backslashreplace")}
