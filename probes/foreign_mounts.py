"""Asks for the mounts of other mount namespaces by their number: listmount(2)."""

from __future__ import annotations

import os
import struct

import _kernel

LSMT_ROOT = 0xFFFF_FFFF_FFFF_FFFF
NS_GET_MNTNS_ID = 0x8008_B705  # _IOR(0xb7, 5, __u64), ioctl_nsfs(2)
FIRST = range(1, 65)
AROUND = 64
AT_MOST = 256


def observe() -> dict[str, object]:
    """Report `own`, the outcome for this namespace, and `foreign`, how many mounts each other one showed.

    Namespaces are numbered in the order in which they are made, so the machine's first one has a small
    number and the host's is close to ours; both neighbourhoods are asked for. `errnos` are the answers that
    listed nothing.
    """
    own = _own_number()
    near = range(max(own - AROUND, 1), own + AROUND) if own else range(0)
    foreign: dict[str, int] = {}
    errnos: set[str] = set()
    for number in sorted({*FIRST, *near} - {own}):
        outcome = _list(number)
        if outcome["errno"] is None:
            foreign[str(number)] = int(str(outcome["result"]))
        else:
            errnos.add(str(outcome["errno"]))
    return {"number": own, "own": _list(0), "foreign": foreign, "errnos": sorted(errnos)}


def _list(number: int) -> dict[str, object]:
    # struct mnt_id_req, of MNT_ID_REQ_SIZE_VER1 bytes
    request = bytearray(struct.pack("=IIQQQ", 32, 0, LSMT_ROOT, 0, number))
    return _kernel.attempt_syscall("listmount", request, bytearray(8 * AT_MOST), AT_MOST, 0)


def _own_number() -> int:
    """The number of this mount namespace, or 0 where the kernel does not tell (before 6.11)."""
    number = bytearray(8)
    try:
        descriptor = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    outcome = _kernel.attempt_syscall("ioctl", descriptor, NS_GET_MNTNS_ID, number)
    os.close(descriptor)
    return int.from_bytes(number, "little") if outcome["errno"] is None else 0
