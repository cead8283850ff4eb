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
    """Report `own`, the outcome for this namespace, and how many mounts others showed, by their numbers.

    Namespaces are numbered in the order in which they are made. So the machine's `first` ones have small numbers, and
    those made at about the same time are `near` ours: among these may be some that are ours to see, for they belong to
    a user namespace that our user has made. `errnos` are the answers that listed nothing.
    """
    own = _own_number()
    errnos: set[str] = set()
    return {
        "number": own,
        "own": _list(0),
        "first": _listed(set(FIRST) - {own}, errnos),
        "near": _listed(set(range(max(own - AROUND, 1), own + AROUND) if own else ()) - {own, *FIRST}, errnos),
        "errnos": sorted(errnos),
    }


def _listed(numbers: set[int], errnos: set[str]) -> dict[str, int]:
    """How many mounts each of these showed that showed any; errnos are added to."""
    found: dict[str, int] = {}
    for number in sorted(numbers):
        outcome = _list(number)
        if outcome["errno"] is None:
            found[str(number)] = int(str(outcome["result"]))
        else:
            errnos.add(str(outcome["errno"]))
    return found


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
