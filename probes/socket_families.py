"""Attempts to get sockets of families that know no network namespace: AF_VSOCK and AF_ALG.

Nothing is connected to: behind AF_VSOCK there may be a hypervisor that listens.
"""

from __future__ import annotations

import os

import _kernel

AF_ALG, AF_VSOCK = 38, 40
SOCK_STREAM, SOCK_SEQPACKET = 1, 5
IOCTL_VM_SOCKETS_GET_LOCAL_CID = 0x7B9


def observe() -> dict[str, object]:
    """Report `vsock` and `alg`, attempts to make a socket, and `local_cid`, this machine's number by /dev/vsock."""
    return {
        "vsock": _kernel.attempt(lambda: _make(AF_VSOCK, SOCK_STREAM)),
        "alg": _kernel.attempt(lambda: _make(AF_ALG, SOCK_SEQPACKET)),
        "local_cid": _local_cid(),
    }


def _make(family: int, kind: int) -> None:
    os.close(_kernel.syscall("socket", family, kind, 0))


def _local_cid() -> dict[str, object]:
    try:
        device = os.open("/dev/vsock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "number": None}
    number = bytearray(4)
    told = _kernel.attempt_syscall("ioctl", device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, number)
    os.close(device)
    return {"errno": told["errno"], "number": int.from_bytes(number, "little") if told["errno"] is None else None}
